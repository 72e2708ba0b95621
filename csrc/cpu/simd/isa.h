// The instruction set level of this process: the best that the CPU has, or the one that PARARNN_ISA names.
#pragma once

#include <string>

namespace pararnn {

enum class IsaLevel { kGeneric, kBaseline, kAvx2, kAvx512, kAvx512Vnni };

// Decided once, at the first call. Throws std::runtime_error if PARARNN_ISA names no level of this machine.
IsaLevel isa_level();

const char* isa_name(IsaLevel level);

// Names of the levels that this machine can run, slowest first, comma-separated.
std::string available_isa_levels();

}  // namespace pararnn
