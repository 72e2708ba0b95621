#include <sys/mman.h>

#include <cstdint>

#include "kernels.h"

namespace pararnn {

void advise_huge_pages(void* data, int64_t bytes) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t begin = (uintptr_t(data) + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (uintptr_t(data) + uintptr_t(bytes)) & ~(kPage - 1);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // advice: may fail
}

}  // namespace pararnn
