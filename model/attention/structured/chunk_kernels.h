#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNK_KERNELS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNK_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace longwave::attention {

// Tokens of one chunk. All tiles below are in units of it.
inline constexpr int kChunk = 64;

// Sizes of one head's problem. Padded sizes are multiples of 16; padding holds zeros, which
// contribute nothing to any sum.
struct ChunkShape {
  int dim = 0;        // d, of q and k
  int features = 0;   // m
  int value_dim = 0;  // d_v
  int dim_pad = 0;
  int features_pad = 0;
  int value_pad = 0;

  static ChunkShape Make(int dim, int features, int value_dim);

  // Floats of one state: features_pad rows of value_pad sums of phi v, then features_pad sums of
  // phi.
  std::size_t state_size() const {
    return static_cast<std::size_t>(features_pad) * value_pad + features_pad;
  }

  // Floats of the scratch memory that every function below may overwrite.
  std::size_t scratch_size() const;
};

// All pointers to tiles and to scratch are 64-byte aligned, rows contiguous. Every function is pure
// and thread-safe (with a scratch of its own), chooses its instruction set at run time (Highway),
// and works on `rows` <= kChunk tokens that lie `stride` floats apart. Scratch is passed in because
// large thread-local arrays would eat the small stacks of other libraries' threads.

// Features are phi(x) = exp(W y - |y|^2 / 2) with y = scale x / |x|: the prf map of normalised
// tokens without its constant 1/sqrt(m), which cancels. A token whose |x|^2 leaves float32's range
// gives NaN.

// Key features, transposed: phi[features_pad][kChunk], columns >= rows zero. w:
// [features_pad][dim_pad].
void KeyFeatures(const ChunkShape& shape, float scale, const float* k, std::ptrdiff_t stride,
                 int rows, const float* w, float* scratch, float* phi);

// Query features, each row divided by its largest, which cancels: phi[kChunk][features_pad], rows
// >= `rows` zero. wt: [dim_pad][features_pad].
void QueryFeatures(const ChunkShape& shape, float scale, const float* q, std::ptrdiff_t stride,
                   int rows, const float* wt, float* scratch, float* phi);

// Copies values into a tile [kChunk][value_pad], times factor[value_dim] by channel, zero beyond
// rows and value_dim.
void PackValues(const ChunkShape& shape, const float* v, std::ptrdiff_t stride, int rows,
                const float* factor, float* tile);

// state = sum over the chunk's keys j of decay[j] phi(k_j) [v_j | 1]. decay: kChunk factors, or
// null for 1.
void ChunkState(const ChunkShape& shape, const float* phi_k, const float* values,
                const float* decay, float* scratch, float* state);

// out[i] += sum_j c[i * c_stride + j] (phi(q_i) . phi(k_j)) v_j and den[i] likewise, for one chunk
// of queries and one of keys. Weights by distance, c[j - i], have the stride kByDistance; then c
// points at that of (first key - first query), and c[-(kChunk-1)] to c[kChunk-1] are read.
inline constexpr std::ptrdiff_t kByDistance = -1;
void NearTile(const ChunkShape& shape, const float* phi_q, const float* phi_k, const float* values,
              const float* c, std::ptrdiff_t c_stride, float* scratch, float* out, float* den);

// out[i] += factor[i] phi(q_i) . state and den[i] likewise. factor: kChunk numbers, or null for 1.
void FarProduct(const ChunkShape& shape, const float* phi_q, const float* state,
                const float* factor, float* out, float* den);

// target[i * stride + e] = out[i][e] / (den[i] factor[e]) for the first `rows` rows and value_dim
// columns.
void Divide(const ChunkShape& shape, const float* out, const float* den, const float* factor,
            int rows, float* target, std::ptrdiff_t stride);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNK_KERNELS_H_
