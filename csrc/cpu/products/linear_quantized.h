#pragma once

#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

// Products with int8 and int4 weights.
void linear_quantized(const LinearParams& p);

}  // namespace PARARNN_ISA
}  // namespace pararnn
