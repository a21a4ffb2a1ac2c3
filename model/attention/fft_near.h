#ifndef LONGWAVE_MODEL_ATTENTION_FFT_NEAR_H_
#define LONGWAVE_MODEL_ATTENTION_FFT_NEAR_H_

#include <cstdint>

#include "model/attention/fft_split.h"

namespace longwave::attention {

// One sequence and head: contiguous float32 rows, not owned.
struct NearInput {
  int64_t tokens = 0;
  int64_t features = 0;
  int64_t value_dim = 0;
  const float* queries = nullptr;  // phi(q): [tokens, features]
  const float* keys = nullptr;     // phi(k): [tokens, features]
  const float* values = nullptr;   // [tokens, value_dim]
};

// Everything of a split table but what is transformed: the near band, the floor and the diagonals.
// Writes sum_j c[j-i] (phi(q_i).phi(k_j)) v_j to sums [tokens, value_dim], and the same without v
// to denominators [tokens]. Linear in tokens; uses the threads of at::parallel_for.
// Floats that SumNear takes for such a sequence on so many threads. floors: the split has some.
int64_t NearFloats(int64_t tokens, int64_t features, int64_t value_dim, bool floors, int threads);

void SumNear(const TableSplit& split, const NearInput& input, float* sums, float* denominators);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FFT_NEAR_H_
