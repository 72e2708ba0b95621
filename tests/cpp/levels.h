// The kernels of every instruction set level that can run here, the emulated ones included.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace pararnn {

struct Level {
  std::string name;
#define PARARNN_MEMBER(kernel, Params) void (*kernel)(const Params& params);
  PARARNN_CPU_KERNELS(PARARNN_MEMBER)
#undef PARARNN_MEMBER

  bool is_emulated() const { return name.find("emulated") != std::string::npos; }
};

const std::vector<Level>& levels();

// While it lives, the entries of kernels.h run at this level.
class EnteredLevel {
 public:
  explicit EnteredLevel(const Level& level);
  ~EnteredLevel();
  EnteredLevel(const EnteredLevel&) = delete;
  EnteredLevel& operator=(const EnteredLevel&) = delete;
};

}  // namespace pararnn
