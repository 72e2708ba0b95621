// csrc/cpu/limits/multiply_add.cpp keeps its values in registers by inline assembly, and an emulated level
// has no such registers: the one kernel that is not emulated.
#include <stdexcept>

#include "params/params.h"

namespace pararnn {
namespace PARARNN_ISA {

void multiply_add(const MultiplyAddParams&) { throw std::logic_error("multiply_add is not emulated"); }

}  // namespace PARARNN_ISA
}  // namespace pararnn
