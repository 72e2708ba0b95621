// Counts what holds and prints what does not.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace pararnn {

class Checks {
 public:
  // What the next checks are about.
  __attribute__((format(printf, 2, 3))) void about(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(about_, sizeof(about_), format, arguments);
    va_end(arguments);
  }

  void that(bool holds, const char* what) {
    ++count_;
    if (holds) return;
    if (++failures_ <= kPrinted) std::printf("FAILED %s: %s\n", about_, what);
  }

  // got[i] within bounds[i] of want[i]. One check.
  void close(const char* what, const float* got, const std::vector<double>& want,
             const std::vector<double>& bounds) {
    for (size_t i = 0; i < want.size(); ++i) {
      const double error = double(got[i]) - want[i];
      if (error <= bounds[i] && -error <= bounds[i]) continue;
      char text[200];
      std::snprintf(text, sizeof(text), "%s[%zu] is %.9g, not %.9g +- %.3g", what, i, double(got[i]), want[i],
                    bounds[i]);
      return that(false, text);
    }
    that(true, what);
  }

  // The same bytes. One check.
  void same_bits(const char* what, const void* got, const void* want, int64_t bytes) {
    that(bytes == 0 || std::memcmp(got, want, size_t(bytes)) == 0, what);
  }

  const char* about_text() const { return about_; }
  int64_t count() const { return count_; }
  int64_t failures() const { return failures_; }

 private:
  static constexpr int64_t kPrinted = 20;

  char about_[200] = "";
  int64_t count_ = 0;
  int64_t failures_ = 0;
};

}  // namespace pararnn
