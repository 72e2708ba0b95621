// The entries of kernels.h: each calls its namesake in the namespace of this process's instruction set level.
#include "cpu/simd/isa.h"
#include "kernels.h"

namespace pararnn {

#define PARARNN_DECLARE(name, Params) void name(const Params& params);
#if defined(__x86_64__)
namespace baseline {
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
}
namespace avx2 {
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
}
namespace avx512 {
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
}
namespace avx512vnni {
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
}
#else
namespace generic {
PARARNN_CPU_KERNELS(PARARNN_DECLARE)
}
#endif
#undef PARARNN_DECLARE

#if defined(__x86_64__)
#define PARARNN_DISPATCH(name, Params)    \
  void name##_cpu(const Params& params) { \
    switch (isa_level()) {                \
      case IsaLevel::kAvx512Vnni:         \
        return avx512vnni::name(params);  \
      case IsaLevel::kAvx512:             \
        return avx512::name(params);      \
      case IsaLevel::kAvx2:               \
        return avx2::name(params);        \
      default:                            \
        return baseline::name(params);    \
    }                                     \
  }
#else
#define PARARNN_DISPATCH(name, Params) \
  void name##_cpu(const Params& params) { generic::name(params); }
#endif
PARARNN_CPU_KERNELS(PARARNN_DISPATCH)
#undef PARARNN_DISPATCH

}  // namespace pararnn
