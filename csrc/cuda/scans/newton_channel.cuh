// Newton's method for one tile of one channel, by one team.
#pragma once

#include "cuda/scans/channel.cuh"
#include "cuda/scans/team.cuh"
#include "math/special.h"

namespace pararnn {
namespace PARARNN_ISA {

// How the solves went so far; the residual is of the lane's own steps.
struct Outcome {
  float residual = 0.0f;
  int32_t iterations = 0;
  int32_t fallbacks = 0;
};

// The larger; NaN if one is.
PARARNN_DEVICE float worse(float x, float y) { return x >= y || x != x ? x : y; }

// NaN if h is not finite.
PARARNN_DEVICE float relative(float error, float h) {
  return fabsf(error) * special_reciprocal(1.0f + fabsf(h));
}

// Whether that is below the tolerance. Not if anything is infinite or NaN.
PARARNN_DEVICE bool is_small(float error, float h, float tolerance) {
  return fabsf(error) < fmaf(tolerance, fabsf(h), tolerance);
}

template <class Cell, class Shape>
class ChannelSolve {
 public:
  static constexpr int kStates = Cell::kStates;
  static_assert(kStates <= Cell::kGates, "states leave a tile in the rows of its inputs");
  using BxTile = Tile<Cell::kGates, Shape>;
  using Memory = TeamMemory<kStates, Shape>;

  // entry: the state before the tile, then that after its last step.
  Vector<kStates> entry{};

  explicit PARARNN_DEVICE ChannelSolve(Memory& memory) : team_(memory) {}

  PARARNN_DEVICE void start(const RecurrenceParams& p, const Span& span, int64_t channel) {
    load_parameters<Cell>(values_, p, channel);
    load_state<Cell>(entry.of, p, span, channel);
  }

  // Replaces the first rows of the channel in the tile by the states of its `count` steps. A team without a
  // channel has no steps; it comes along where others have to meet it.
  PARARNN_DEVICE void solve(BxTile& tile, int count, float tolerance, int max_iterations, Outcome& outcome) {
    count_ = count;
    read(tile);
    guess();
    linearize();
    bool failed = count > 0, goes_on = true;
    int iterations = 0;
    while (goes_on && iterations < max_iterations) {
      const bool small_update = update(tolerance);
      linearize();
      failed = !(small_update && small_residual(tolerance));
      goes_on = team_.any_goes_on(failed);
      ++iterations;
    }
    if (iterations > outcome.iterations) outcome.iterations = iterations;
    // Lane 0 is about to write where others have read.
    if (goes_on && team_.any(failed)) {
      if (lane() == 0) {
        ++outcome.fallbacks;
        solve_step_by_step(tile, outcome);
      }
    } else {
      write(tile, outcome);
    }
    team_.sync();
    PARARNN_UNROLL
    for (int n = 0; n < kStates && count > 0; ++n) entry.of[n] = tile.element(n, Shape::channel(), count - 1);
  }

 private:
  static PARARNN_DEVICE int lane() { return Shape::lane(); }
  PARARNN_DEVICE bool has(int k) const { return lane() * kSteps + k < count_; }

  PARARNN_DEVICE void read(const BxTile& tile) {
    PARARNN_UNROLL
    for (int i = 0; i < Cell::kGates; ++i) bx_[i] = tile.at[i][Shape::channel()][lane()];
  }

  PARARNN_DEVICE void take_input(const Vector<kStates>& from, int k) {
    PARARNN_UNROLL
    for (int n = 0; n < kStates; ++n) values_.state[n] = from.of[n];
    PARARNN_UNROLL
    for (int i = 0; i < Cell::kGates; ++i) values_.bx[i] = bx_[i].step[k];
  }

  // Every step from 0, the first from where it really starts.
  PARARNN_DEVICE void guess() {
    PARARNN_UNROLL
    for (int k = 0; k < kSteps; ++k) {
      take_input(k == 0 && lane() == 0 ? entry : Vector<kStates>{}, k);
      advance<Cell>(values_);
      PARARNN_UNROLL
      for (int n = 0; n < kStates; ++n) h_[k].of[n] = values_.state[n];
    }
  }

  // The step from every state of the trajectory, as the map of what would change in the next.
  PARARNN_DEVICE void linearize() {
    Vector<kStates> before = team_.last_before(h_[kSteps - 1], entry);
    PARARNN_UNROLL
    for (int k = 0; k < kSteps; ++k) {
      take_input(before, k);
      const auto next = Cell::step(JacobianInput<Cell, float>{{values_}});
      take_row<0>(next, k);
      if constexpr (kStates == 2) take_row<1>(next, k);
      before = h_[k];
    }
  }

  template <int I, class Next>
  PARARNN_DEVICE void take_row(const Next& next, int k) {
    const auto& row = next.get(Index<I>());
    maps_[k].offset[I] = row.value - h_[k].of[I];
    maps_[k].matrix[I][0] = partial<0>(row);
    if constexpr (kStates == 2) maps_[k].matrix[I][1] = partial<1>(row);
  }

  // Returns whether it changed nothing any more.
  PARARNN_DEVICE bool update(float tolerance) {
    Vector<kStates> change = team_.enter(maps_);
    bool small = true;
    PARARNN_UNROLL
    for (int k = 0; k < kSteps; ++k) {
      const Vector<kStates> before = change;
      apply(maps_[k], before.of, change.of);
      PARARNN_UNROLL
      for (int n = 0; n < kStates; ++n) {
        h_[k].of[n] += change.of[n];
        small = small && (!has(k) || is_small(change.of[n], h_[k].of[n], tolerance));
      }
    }
    return small;
  }

  PARARNN_DEVICE bool small_residual(float tolerance) const {
    bool small = true;
    PARARNN_UNROLL
    for (int k = 0; k < kSteps; ++k) {
      PARARNN_UNROLL
      for (int n = 0; n < kStates; ++n)
        small = small && (!has(k) || is_small(maps_[k].offset[n], h_[k].of[n], tolerance));
    }
    return small;
  }

  PARARNN_DEVICE void write(BxTile& tile, Outcome& outcome) const {
    PARARNN_UNROLL
    for (int n = 0; n < kStates; ++n) {
      Quad quad;
      PARARNN_UNROLL
      for (int k = 0; k < kSteps; ++k) {
        quad.step[k] = h_[k].of[n];
        if (has(k)) outcome.residual = worse(outcome.residual, relative(maps_[k].offset[n], h_[k].of[n]));
      }
      tile.at[n][Shape::channel()][lane()] = quad;
    }
  }

  // By one lane. The residual of what it writes is 0, or NaN where that is not finite.
  PARARNN_DEVICE void solve_step_by_step(BxTile& tile, Outcome& outcome) {
    PARARNN_UNROLL
    for (int n = 0; n < kStates; ++n) values_.state[n] = entry.of[n];
    for (int step = 0; step < count_; ++step) {
      PARARNN_UNROLL
      for (int i = 0; i < Cell::kGates; ++i) values_.bx[i] = tile.element(i, Shape::channel(), step);
      advance<Cell>(values_);
      PARARNN_UNROLL
      for (int n = 0; n < kStates; ++n) {
        const float h = values_.state[n];
        tile.element(n, Shape::channel(), step) = h;
        outcome.residual = worse(outcome.residual, relative(h - h, h));
      }
    }
  }

  Team<kStates, Shape> team_;
  StepValues<Cell, float> values_{};  // the parameters; state and bx are those of the step being taken
  int count_;
  Quad bx_[Cell::kGates];
  Vector<kStates> h_[kSteps];
  Affine<float, kStates> maps_[kSteps];  // the Jacobian, and how far the step leads from the next state
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
