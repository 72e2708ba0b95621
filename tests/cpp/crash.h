// A kernel that touches memory which is not its own ends the process; this says what was being checked.
#pragma once

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

namespace pararnn {

inline const char* volatile crash_text = "";

inline void say_where(int) {
  const char* const parts[] = {"FAILED, touched what is not its own: ", crash_text, "\n"};
  for (const char* part : parts) {
    if (write(STDOUT_FILENO, part, std::strlen(part)) < 0) break;
  }
  std::_Exit(1);
}

// `text` is read when it happens. A sanitizer's own report says more.
inline void watch_for_crashes(const char* text) {
  crash_text = text;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  std::signal(SIGSEGV, say_where);
#endif
}

}  // namespace pararnn
