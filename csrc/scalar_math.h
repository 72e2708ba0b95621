// The functions of a cell for one channel in float or double, as a GPU thread or a plain loop has it.
#pragma once

#include <cmath>

#include "host_device.h"

namespace pararnn {
namespace PARARNN_ISA {

PARARNN_HD float madd(float x, float y, float z) { return fmaf(x, y, z); }
PARARNN_HD double madd(double x, double y, double z) { return ::fma(x, y, z); }

PARARNN_HD float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
PARARNN_HD double sigmoid(double x) { return 1.0 / (1.0 + ::exp(-x)); }

PARARNN_HD float silu(float x) { return x * sigmoid(x); }

PARARNN_HD float tanh(float x) { return tanhf(x); }
PARARNN_HD double tanh(double x) { return ::tanh(x); }

}  // namespace PARARNN_ISA
}  // namespace pararnn
