#pragma once

#include <cstdint>

namespace pararnn {

// Memory of the calling thread for one kernel call, 64-byte aligned, kept and grown from call to call.
float* scratch(int64_t floats);

}  // namespace pararnn
