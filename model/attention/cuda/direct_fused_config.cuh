#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_CONFIG_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_CONFIG_CUH_

#include "model/attention/cuda/direct_fused_features.cuh"

// How a thread block of the fused kernel is divided, and what it keeps in shared memory.
namespace longwave::attention::cuda::fused {

// A block has kTeams; a team is kRowGroups x kKeyGroups warpgroups, of which each holds 64 rows
// and takes every kKeyGroups-th tile of keys.
template <int kTeams_, int kRowGroups_, int kKeyGroups_>
struct Config {
  static constexpr int kTeams = kTeams_;
  static constexpr int kRowGroups = kRowGroups_;
  static constexpr int kKeyGroups = kKeyGroups_;
  static constexpr int kGroups = kRowGroups * kKeyGroups;  // of a team
  static constexpr int kThreads = kTeams * kGroups * kGroupThreads;
  static constexpr int kRows = kTile * kRowGroups;
  // By warpgroup one at work or waiting for its turn, and one under way: all keys of a sequence
  // whose rows are computed in two passes.
  static constexpr int kStages = 2 * kGroups;
  // Those of a pass and of the next one.
  static constexpr int kQueryTiles = kKeyGroups == 1 ? 2 : 1;

  struct Stage {
    char keys[kTileBytes];
    char values[kTileBytes];
  };
  struct Shared {
    Stage stages[kTeams][kStages];
    char queries[kTeams * kRowGroups][kQueryTiles][kTileBytes];
    char projection[2][kTileBytes];  // W as a sum of two
    hopper::Barrier loaded[kTeams][kStages];
    hopper::Barrier ready[kTeams][kStages];
    hopper::Barrier empty[kTeams][kStages];
    // Of the first warpgroup of the same rows; the others' are not used.
    hopper::Barrier queries_loaded[kTeams * kGroups];
    hopper::Barrier queries_ready[kTeams * kGroups];
    uint32_t doubtful[kTeams * kGroups][kTile / 32];
    SequenceTile items[kTeams * kGroups * 4][2];  // of every warp: this one and the next in turn
    float shifts[kTeams];                         // of the weights
    // As many as the longest sequence needs, twice, for each team.
    alignas(16) float weights[1];
  };

  // Rows or keys of the longest sequence, in whole tiles.
  __host__ __device__ static int Reach(int longest) {
    return (longest + kTile - 1) / kTile * kTile;
  }
  // Floats of one copy of the weights, of all distances. As in direct_hopper.cu the second copy is
  // moved by one, and 16 banks away.
  __host__ __device__ static int SecondCopy(int longest) { return 2 * Reach(longest) + 16; }

  // Shared memory of a block, with room to align it.
  static int Bytes(int longest) {
    return static_cast<int>(sizeof(Shared)) + 1024 + 8 * kTeams * SecondCopy(longest);
  }
  // Longest sequence of a block that may have so much.
  static int MaxLength(int bytes) { return (bytes - Bytes(0)) / (16 * kTeams) / kTile * kTile; }
};

}  // namespace longwave::attention::cuda::fused

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_CONFIG_CUH_
