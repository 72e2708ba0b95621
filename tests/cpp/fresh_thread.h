// A thread's scratch memory grows and stays; in a thread of its own a call has no more than it asks for.
#pragma once

#include <thread>

namespace pararnn {

template <class Body>
void in_fresh_thread(const Body& body) {
  std::thread(body).join();
}

}  // namespace pararnn
