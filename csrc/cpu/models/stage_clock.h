// The time of each stage of a step, if somebody wants it.
#pragma once

#include <chrono>

#include "models/step.h"

namespace pararnn {

class StageClock {
 public:
  explicit StageClock(double* seconds) : seconds_(seconds), began_(now()) {}

  // Adds the time since the last call to `stage`.
  void spent_on(Stage stage) {
    if (seconds_ == nullptr) return;
    const auto end = now();
    seconds_[int(stage)] += std::chrono::duration<double>(end - began_).count();
    began_ = end;
  }

 private:
  static std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

  double* const seconds_;
  std::chrono::steady_clock::time_point began_;
};

}  // namespace pararnn
