// The warps that have a channel's tile, and how they agree. One warp asks nobody. More of them meet in memory
// that the block shares, where every thread of the block comes to every meeting: so its channels keep step,
// and all of them iterate as often as the slowest.
#pragma once

#include "cuda/scans/warp_scan.cuh"

namespace pararnn {
namespace PARARNN_ISA {

// What warps tell the later ones of their team: [channel][warp].
template <int N, class Shape>
struct TeamMemory {
  Affine<float, N> maps[Shape::kChannels][Shape::kTeamWarps];
  Vector<N> ends[Shape::kChannels][Shape::kTeamWarps];
  bool votes[Shape::kChannels][Shape::kTeamWarps];
};

template <int N, class Shape>
class Team {
 public:
  static constexpr bool kIsWarp = Shape::kTeamWarps == 1;

  explicit PARARNN_DEVICE Team(TeamMemory<N, Shape>& memory) : memory_(memory) {}

  static PARARNN_DEVICE void sync() {
    if constexpr (kIsWarp) {
      sync_warp();
    } else {
      sync_block();
    }
  }

  // Whether any of those goes on with whom this thread keeps step.
  static PARARNN_DEVICE bool any_goes_on(bool condition) {
    if constexpr (kIsWarp) {
      return any_in_warp(condition);
    } else {
      return any_in_block(condition);
    }
  }

  // Of the team. Whatever it read before, all have read after.
  PARARNN_DEVICE bool any(bool condition) {
    bool any = any_in_warp(condition);
    if constexpr (!kIsWarp) {
      if (is_last_of_warp()) votes()[warp()] = any;
    }
    sync();
    if constexpr (!kIsWarp) {
      PARARNN_UNROLL
      for (int i = 0; i < Shape::kTeamWarps; ++i) any = any || votes()[i];
    }
    return any;
  }

  // Of x_t = maps_t(x_{t-1}) over all steps of the team, from 0: x before the lane's first.
  PARARNN_DEVICE Vector<N> enter(const Affine<float, N> (&maps)[kSteps]) {
    const Affine<float, N> up_to = up_to_lane(maps);
    Vector<N> entry{};
    if constexpr (!kIsWarp) {
      if (is_last_of_warp()) memory_.maps[Shape::channel()][warp()] = up_to;
      sync_block();
      PARARNN_UNROLL
      for (int i = 0; i < Shape::kTeamWarps - 1; ++i) {
        if (i >= warp()) continue;
        const Vector<N> before = entry;
        apply(memory_.maps[Shape::channel()][i], before.of, entry.of);
      }
    }
    return before_lane(up_to, entry);
  }

  // The last state of the lane before; entry for the first.
  PARARNN_DEVICE Vector<N> last_before(const Vector<N>& last, const Vector<N>& entry) {
    const Vector<N> before = shuffle_up(last, 1);
    if constexpr (!kIsWarp) {
      if (is_last_of_warp()) memory_.ends[Shape::channel()][warp()] = last;
      sync_block();
      if (thread_index() % kWarp == 0 && warp() > 0) return memory_.ends[Shape::channel()][warp() - 1];
    }
    return Shape::lane() == 0 ? entry : before;
  }

 private:
  static PARARNN_DEVICE int warp() { return Shape::lane() / kWarp; }
  static PARARNN_DEVICE bool is_last_of_warp() { return thread_index() % kWarp == kWarp - 1; }
  PARARNN_DEVICE bool* votes() { return memory_.votes[Shape::channel()]; }

  TeamMemory<N, Shape>& memory_;
};

}  // namespace PARARNN_ISA
}  // namespace pararnn
