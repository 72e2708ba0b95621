#pragma once

#include <sstream>
#include <stdexcept>

namespace pararnn {

// One readable error, which names the argument first; torch hands it on as a RuntimeError.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

}  // namespace pararnn

// The message is put together only when it is needed.
#define PARARNN_REQUIRE(condition, ...)             \
  do {                                              \
    if (!(condition)) ::pararnn::fail(__VA_ARGS__); \
  } while (false)
