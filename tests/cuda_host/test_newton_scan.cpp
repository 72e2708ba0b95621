// Newton's method: within promise P1's bound of float64 whatever the weights, and honest about how it went.
#include <cmath>

#include "cuda/scans/newton_scan.cuh"
#include "cuda/scans/sequential_scan.cuh"
#include "host_tests.h"
#include "shapes.h"

namespace pararnn {
namespace {

using fibers::Order;
using PARARNN_ISA::BlockOf;

constexpr float kTolerance = 1e-6f;
constexpr int kMaxIterations = 8;

struct Report {
  std::vector<float> residual;
  std::vector<int32_t> iterations, fallbacks;
};

template <class Block>
Report run(const RecurrenceParams& scan, Order order, int max_iterations) {
  const std::vector<int32_t> zeros(size_t(scan.sequences.count));
  Exact<uint32_t> residual(std::vector<uint32_t>(zeros.begin(), zeros.end()));
  Exact<int32_t> iterations(zeros), fallbacks(zeros);
  const NewtonParams p{scan,
                       kTolerance,
                       max_iterations,
                       Block::kTeamWarps,
                       residual.data(),
                       iterations.data(),
                       fallbacks.data()};
  on_fibers(scan, scan.sequences.count * Block::groups(scan.channels), Block::kThreads, order,
            [&](auto cell, auto scalar) {
              PARARNN_ISA::newton_scan_block<decltype(cell), decltype(scalar), Block>(p);
            });
  std::vector<float> residuals(zeros.size());
  if (!zeros.empty()) std::memcpy(residuals.data(), residual.data(), residuals.size() * sizeof(float));
  return {residuals, iterations.copy(), fallbacks.copy()};
}

template <class Block>
int64_t tiles(const Problem& problem, int64_t s) {
  return problem.batch.is_skipped(s) ? 0 : Block::tiles(problem.batch.lengths[size_t(s)]);
}

// What the report says is what the states are.
template <class Block>
void check_report(Checks& checks, const Problem& problem, const std::vector<float>& states,
                  const Report& report) {
  const std::vector<double> residuals = problem.residuals(states);
  for (int64_t s = 0; s < problem.batch.count(); ++s) {
    const size_t i = size_t(s);
    constexpr double kRounding = 1e-6;  // of a step in float32, with special functions as wrong as may be
    checks.that(std::fabs(double(report.residual[i]) - residuals[i]) <= kRounding, "residual");
    checks.that(report.residual[i] <= kTolerance, "the residual is within the tolerance");
    checks.that(report.iterations[i] <= kMaxIterations, "iterations");
    checks.that((report.iterations[i] > 0) == (tiles<Block>(problem, s) > 0),
                "who has a tile takes an update");
    checks.that(
        report.fallbacks[i] >= 0 && report.fallbacks[i] <= tiles<Block>(problem, s) * problem.channels,
        "fallbacks");
  }
}

template <class Block>
Report check(Checks& checks, const Problem& problem, Order order) {
  checks.about("newton_scan, %d threads, %d to a channel, order %d, %s", Block::kThreads, Block::kLanes,
               int(order), problem.text().c_str());
  ProblemMemory memory(problem);
  const Report report = run<Block>(memory.params(), order, kMaxIterations);
  check_states(checks, memory, problem.exact(), std::max(kFloor, 4.0 * problem.float32_error()));
  check_report<Block>(checks, problem, memory.states(), report);
  return report;
}

// Without a single update every unit is finished step by step, to the bits of the kernel that always does so.
template <class Block>
void check_without_updates(Checks& checks, const Problem& problem) {
  checks.about("newton_scan, no updates, %d threads, %d to a channel, %s", Block::kThreads, Block::kLanes,
               problem.text().c_str());
  ProblemMemory memory(problem), sequential(problem);
  const Report report = run<Block>(memory.params(), Order::kDescending, 0);
  const RecurrenceParams p = sequential.params();
  on_fibers(p, PARARNN_ISA::sequential_scan_blocks<64>(p), 64, Order::kAscending,
            [&](auto cell, auto scalar) {
              PARARNN_ISA::sequential_scan_block<decltype(cell), decltype(scalar), 64>(p);
            });
  const bool same = memory.states() == sequential.states() && memory.y() == sequential.y() &&
                    memory.pool() == sequential.pool();
  checks.that(same, "the states of the sequential kernel");
  for (int64_t s = 0; s < problem.batch.count(); ++s) {
    checks.that(report.fallbacks[size_t(s)] == tiles<Block>(problem, s) * problem.channels,
                "every unit is counted");
    checks.that(report.residual[size_t(s)] == 0.0f, "a step that was taken has no residual");
  }
}

// One update is enough for a tile of one step and hardly any other.
template <class Block>
void check_one_update(Checks& checks, const Problem& problem) {
  checks.about("newton_scan, one update, %d threads, %d to a channel, %s", Block::kThreads, Block::kLanes,
               problem.text().c_str());
  ProblemMemory memory(problem);
  const Report report = run<Block>(memory.params(), Order::kAscending, 1);
  check_states(checks, memory, problem.exact(), std::max(kFloor, 4.0 * problem.float32_error()));
  check_report<Block>(checks, problem, memory.states(), report);
  checks.that(report.fallbacks[0] == tiles<Block>(problem, 0) * problem.channels,
              "all of the long sequence failed");
}

int32_t most(const std::vector<int32_t>& counts) { return *std::max_element(counts.begin(), counts.end()); }

// A cell that is added draws from numbers of its own, so that the problems of the others stay.
struct Draws {
  Random of_first_cells;
  Random of_others;

  explicit Draws(uint64_t seed) : of_first_cells(seed), of_others(seed + 1000) {}

  Random& of(CellKind cell) {
    return cell == CellKind::kGru || cell == CellKind::kLstm ? of_first_cells : of_others;
  }
};

template <class Block>
void check_stiff(Checks& checks, Draws& draws) {
  const Batch batch{{300, 40, 0, 129}, {2, 0, 5, 7}, {1, 0, 1, 1}};
  for (const CellKind cell : kCellKinds) {
    for (const float weights : {2.0f, 4.0f}) {
      const Problem problem(cell, DType::kFloat32, 6, batch, weights, draws.of(cell));
      const Report report = check<Block>(checks, problem, Order::kShuffled);
      if (cell == CellKind::kMinGru) {
        checks.that(most(report.iterations) <= 2,
                    "a step that is linear in the state is solved by one update");
      } else {
        checks.that(most(report.iterations) > 3, "three updates are not enough");
      }
      check_one_update<Block>(checks, problem);
    }
  }
}

// With so few updates that some tiles get there and others do not: what one hands on is the next one's start.
template <class Block>
void check_some_fail(Checks& checks, Draws& draws) {
  const int64_t steps = 3 * Block::kTileSteps + 5;
  const Problem problem(CellKind::kLstm, DType::kFloat32, 5, {{steps}, {3}, {1}}, 1.2f, draws.of_first_cells);
  for (int updates = 3; updates < kMaxIterations; ++updates) {
    checks.about("newton_scan, at most %d updates, %d lanes", updates, Block::kLanes);
    ProblemMemory memory(problem);
    const Report report = run<Block>(memory.params(), Order::kShuffled, updates);
    check_states(checks, memory, problem.exact(), std::max(kFloor, 4.0 * problem.float32_error()));
    check_report<Block>(checks, problem, memory.states(), report);
    const int32_t all = int32_t(tiles<Block>(problem, 0) * problem.channels);
    if (report.fallbacks[0] > 0 && report.fallbacks[0] < all) return;
  }
  checks.that(false, "some number of updates is enough for some tiles and not for others");
}

template <class Block>
void check_slow(Checks& checks, Draws& draws) {
  for (const CellKind cell : kCellKinds) {
    for (const float by : {2.0f, 4.0f, 6.0f}) {
      Problem problem(cell, DType::kFloat32, 8, {{256, 100}, {1, 3}, {1, 1}}, 0.5f, draws.of(cell));
      problem.slow_down(by);
      check<Block>(checks, problem, Order::kShuffled);
    }
  }
}

template <class Block>
void check_not_finite(Checks& checks, Draws& draws) {
  checks.about("newton_scan, an input that is not finite, %d lanes", Block::kLanes);
  const int64_t steps = Block::kTileSteps + 70;
  const Problem problem(CellKind::kGru, DType::kFloat32, 3, {{steps, 20}, {1, 0}, {1, 1}}, 0.5f,
                        draws.of_first_cells);
  ProblemMemory memory(problem);
  RecurrenceParams p = memory.params();
  const_cast<float*>(static_cast<const float*>(p.bx))[50 * 3 * 3 + 1] = std::nanf("");
  const Report report = run<Block>(p, Order::kAscending, kMaxIterations);
  checks.that(std::isnan(report.residual[0]), "a state that is not finite shows in the residual");
  checks.that(report.fallbacks[0] == 2, "both tiles of that channel were tried step by step");
  checks.that(report.residual[1] <= kTolerance && report.fallbacks[1] == 0, "the other sequence is as ever");
}

// Steps up to a tile's end and beyond, some of whose channels have no place in the last block.
template <class Block>
void check_borders(Checks& checks, Draws& draws) {
  const int64_t tile = Block::kTileSteps;
  const Batch batch{{tile - 1, 0, tile + 1, 4, tile}, {2, 0, 1, kPadSlotId, 4}, {1, 1, 0, 1, 1}};
  for (const CellKind cell : kCellKinds) {
    const Problem problem(cell, DType::kFloat32, 2 * Block::kChannels - 1, batch, 0.5f, draws.of(cell));
    for (const Order order : kOrders) check<Block>(checks, problem, order);
  }
}

template <class Block>
void check_hard(Checks& checks, Draws& draws) {
  check_stiff<Block>(checks, draws);
  check_some_fail<Block>(checks, draws);
  check_slow<Block>(checks, draws);
  check_not_finite<Block>(checks, draws);
  check_borders<Block>(checks, draws);
}

}  // namespace

void test_newton_scan(Checks& checks) {
  Draws draws(32);
  for_shapes([&](CellKind cell, DType dtype, int64_t channels, const Batch& batch) {
    const Problem problem(cell, dtype, channels, batch, 0.5f, draws.of(cell));
    const Report report = check<BlockOf<64>>(checks, problem, Order::kShuffled);
    checks.that(most(report.fallbacks) == 0 && most(report.iterations) <= 5, "clipped weights converge fast");
    const Report wide = check<BlockOf<128>>(checks, problem, Order::kDescending);
    checks.that(wide.iterations == report.iterations && wide.residual == report.residual,
                "the size of a block changes nothing");
    check_without_updates<BlockOf<64>>(checks, problem);
  });
  check_hard<BlockOf<128>>(checks, draws);
}

// Teams of more than one warp.
void test_newton_teams(Checks& checks) {
  Draws draws(35);
  for_shapes([&](CellKind cell, DType dtype, int64_t channels, const Batch& batch) {
    const Problem problem(cell, dtype, channels, batch, 0.5f, draws.of(cell));
    const Report report = check<BlockOf<128, 2>>(checks, problem, Order::kShuffled);
    checks.that(most(report.fallbacks) == 0 && most(report.iterations) <= 5, "clipped weights converge fast");
    check<BlockOf<128, 4>>(checks, problem, Order::kDescending);
    check_without_updates<BlockOf<128, 2>>(checks, problem);
  });
  check_hard<BlockOf<128, 2>>(checks, draws);
  check_hard<BlockOf<256, 4>>(checks, draws);
}

}  // namespace pararnn
