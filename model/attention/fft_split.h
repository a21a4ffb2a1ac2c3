#ifndef LONGWAVE_MODEL_ATTENTION_FFT_SPLIT_H_
#define LONGWAVE_MODEL_ATTENTION_FFT_SPLIT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "model/attention/structured/chunk_kernels.h"

namespace longwave::attention {

// One distance whose weight stands out.
struct Diagonal {
  int64_t distance = 0;
  float weight = 0;
};

// The weights exp(b - reference) of one head as a sum of what the algorithm "fft" computes in three
// ways. All parts are non-negative, so no row loses digits when they are added.
//
// A transform errs relative to all of its weights and keys together. So what it transforms should
// be even: without the near band, which many rows live on; without the constant floor, which
// carries no information; without the few weights that dwarf the others.
struct TableSplit {
  // Chunks on either side of a query's own that are computed directly: 5 tiles cost a few percent
  // of the transforms.
  static constexpr int64_t kNearChunks = 2;
  static constexpr int64_t kNearDistance = kNearChunks * kChunk;

  // A floor below this share of a side's mean is not worth its chunk states.
  static constexpr double kWorthwhileFloor = 0.05;

  static constexpr int64_t kMostDiagonals = 32;

  // Weights of the direct tiles, by distance from -(kNearDistance + kChunk - 1) up; those beyond
  // kNearDistance are the floors.
  std::vector<float> near;
  // Constants of the chunks beyond the direct tiles; 0: none.
  double left_floor = 0;
  double right_floor = 0;
  std::vector<Diagonal> diagonals;
  // How many weights of what remains are not 0 before each distance from -(reach - 1) to reach: the
  // remainder itself is only needed for its transform.
  std::vector<int32_t> nonzero;

  // The weight of distance offset * kChunk, with kChunk - 1 weights on either side of it.
  const float* Tile(int64_t offset) const {
    return near.data() + (kNearChunks + offset + 1) * kChunk - 1;
  }

  int64_t reach() const { return static_cast<int64_t>(nonzero.size()) / 2; }

  // Whether the remainder gives a row of a sequence of n tokens any key.
  bool ReachesFar(int64_t row, int64_t n) const {
    const int64_t center = reach() - 1;
    return nonzero[center + n - row] != nonzero[center - row];
  }
};

// bias(t): b of |t| < reach, float32 numbers or -inf (not at t = 0). far receives the remainder for
// distances -(reach - 1) to reach - 1.
TableSplit SplitTable(const std::function<double(int64_t)>& bias, int64_t reach,
                      std::vector<double>& far);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FFT_SPLIT_H_
