// The kernel that goes step by step: within the bound of float64, and nothing touched that is not asked for.
#include "cuda/scans/sequential_scan.cuh"
#include "host_tests.h"
#include "shapes.h"

namespace pararnn {
namespace {

template <int kThreads>
void run(const RecurrenceParams& p) {
  using namespace PARARNN_ISA;
  on_fibers(
      p, sequential_scan_blocks<kThreads>(p), kThreads, fibers::Order::kShuffled,
      [&](auto cell, auto scalar) { sequential_scan_block<decltype(cell), decltype(scalar), kThreads>(p); });
}

template <int kThreads>
void check(Checks& checks, const Problem& problem) {
  checks.about("sequential_scan, %d threads, %s", kThreads, problem.text().c_str());
  ProblemMemory memory(problem);
  run<kThreads>(memory.params());
  check_states(checks, memory, problem.exact(), kFloor);

  ProblemMemory without_outputs(problem);
  RecurrenceParams p = without_outputs.params();
  p.states = p.y = nullptr;
  run<kThreads>(p);
  checks.that(without_outputs.pool() == memory.pool(), "the final states alone");
}

}  // namespace

void test_sequential_scan(Checks& checks) {
  Random random(31);
  for_shapes([&](CellKind cell, DType dtype, int64_t channels, const Batch& batch) {
    const Problem problem(cell, dtype, channels, batch, 0.5f, random);
    check<64>(checks, problem);
    check<128>(checks, problem);
  });
}

}  // namespace pararnn
