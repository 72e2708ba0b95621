// The kernels of csrc/cuda on fibers. Prints counts; exits with 1 if anything does not hold.
#include "host_tests.h"
#include "run.h"

int main() {
  using namespace pararnn;
  return exit_status_of([](Run& run) {
#define PARARNN_RUN_TEST(name) run.add("fibers", #name, test_##name);
    PARARNN_CUDA_HOST_TESTS(PARARNN_RUN_TEST)
#undef PARARNN_RUN_TEST
  });
}
