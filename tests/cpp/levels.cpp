#include "levels.h"

namespace pararnn {

#define PARARNN_DECLARE(kernel, Params) void kernel(const Params& params);
#define PARARNN_LEVEL(level)           \
  namespace level {                    \
  PARARNN_CPU_KERNELS(PARARNN_DECLARE) \
  }
#include "test_levels.inc"  // written by CMake: PARARNN_LEVEL(...) for each of them
#undef PARARNN_LEVEL
#undef PARARNN_DECLARE

const std::vector<Level>& levels() {
#define PARARNN_ENTRY(kernel, Params) kernel,
#define PARARNN_LEVEL(level)                                  \
  [] {                                                        \
    using namespace level;                                    \
    return Level{#level, PARARNN_CPU_KERNELS(PARARNN_ENTRY)}; \
  }(),
  static const std::vector<Level> all{
#include "test_levels.inc"
  };
#undef PARARNN_LEVEL
#undef PARARNN_ENTRY
  return all;
}

namespace {

const Level* entered = nullptr;

}  // namespace

EnteredLevel::EnteredLevel(const Level& level) { entered = &level; }
EnteredLevel::~EnteredLevel() { entered = nullptr; }

#define PARARNN_ENTRY(kernel, Params) \
  void kernel##_cpu(const Params& params) { entered->kernel(params); }
PARARNN_CPU_KERNELS(PARARNN_ENTRY)
#undef PARARNN_ENTRY

}  // namespace pararnn
