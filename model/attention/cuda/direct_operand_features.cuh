#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_OPERAND_FEATURES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_OPERAND_FEATURES_CUH_

#include <cstdint>

#include "model/attention/cuda/direct_operand_parts.cuh"
#include "model/attention/cuda/direct_tiles.cuh"

// phi(q) and phi(k) as tiles. W x is computed on tensor cores from bfloat16 parts: x as it came
// (a bfloat16 is one part, a float16 two, a float32 three) and W in as many parts as the result
// needs, so that the exponents err by less than 1e-4 (float32: 1e-6). The norm of x scales the
// product, not x.
namespace longwave::attention::cuda::operands {

inline constexpr int kWarps = 8;
inline constexpr int kThreads = 32 * kWarps;
inline constexpr int kWarpRows = 16;
static_assert(kWarps * kWarpRows == kTileRows);
inline constexpr float kNormEps = 1e-12f;

enum class Role { kQuery, kKey, kValue };

// Floats in the order of integers, for atomicMax.
__device__ inline int Ordered(float x) {
  const int bits = __float_as_int(x);
  return bits >= 0 ? bits : bits ^ 0x7fffffff;
}
__device__ inline float FromOrdered(int x) { return __int_as_float(x >= 0 ? x : x ^ 0x7fffffff); }

// Shared memory: W in parts, then every warp's rows of the result.
template <int kChunks>
struct SharedLayout {
  // 32 kChunks channels and a gap that spreads rows over the banks.
  static constexpr int kProjectionStride = 64 * kChunks + 64;
  int padded_features;
  int panels;

  __host__ __device__ int ProjectionBytes(int parts) const {
    return parts * padded_features * kProjectionStride;
  }
  __host__ __device__ int RowsBytes(int parts) const {
    return parts * panels * kTileRows * kPanelRowBytes;
  }
};

template <typename T, int kChunks>
class FeatureRows {
 public:
  using P = Parts<T>;

  __device__ FeatureRows(const DirectArgs& args, Role role, int head, bool aligned,
                         bool projection_aligned, char* shared)
      : args_(args),
        role_(role),
        head_(args.attention.head_begin + head),
        local_head_(head),
        aligned_(aligned),
        projection_aligned_(projection_aligned),
        layout_{(args.attention.features + 7) / 8 * 8, args.operands.k.panels},
        projection_(shared),
        rows_(shared + layout_.ProjectionBytes(P::kProjection) +
              Warp() * layout_.panels * P::kOutput * kWarpRows * kPanelRowBytes) {}

  // By all threads of the block together; then every warp is on its own.
  __device__ void LoadProjection() const {
    const AttentionArgs& a = args_.attention;
    const float* const w = a.projection + head_ * a.projection_head_stride;
    constexpr int kRowChunks = 4 * kChunks;
    for (int i = threadIdx.x; i < layout_.padded_features * kRowChunks; i += kThreads) {
      const int r = i / kRowChunks, begin = 8 * (i % kRowChunks);
      const Chunk<float> chunk = LoadChunk(w + r * a.projection_row_stride + begin,
                                           r < a.features ? a.dim - begin : 0, projection_aligned_);
      __align__(16) __nv_bfloat16 out[P::kProjection][8];
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        __nv_bfloat16 parts[P::kProjection];
        Split(chunk.values[e], parts);
#pragma unroll
        for (int p = 0; p < P::kProjection; ++p) out[p][e] = parts[p];
      }
#pragma unroll
      for (int p = 0; p < P::kProjection; ++p) {
        *reinterpret_cast<uint4*>(projection_ +
                                  (p * layout_.padded_features + r) * layout_.kProjectionStride +
                                  2 * begin) = *reinterpret_cast<const uint4*>(out[p]);
      }
    }
    __syncthreads();
  }

  __device__ void Run(const SequenceTile& tile, bool maxima_only) {
    tile_ = tile;
    LoadTokens();
    if (maxima_only) {
      RecordMaxima();
      return;
    }
    const int words = layout_.panels * P::kOutput * kWarpRows * kPanelRowBytes / 16;
    for (int w = Lane(); w < words; w += 32) {
      reinterpret_cast<uint4*>(rows_)[w] = make_uint4(0, 0, 0, 0);
    }
    __syncwarp();
    args_.attention.trigonometric ? WriteWaves() : WriteExponentials();
    __syncwarp();
    StoreRows();
    __syncwarp();
  }

 private:
  static __device__ int Warp() { return threadIdx.x / 32; }
  static __device__ int Lane() { return threadIdx.x % 32; }

  // This thread's rows Lane()/4 and Lane()/4 + 8 of the warp, and of them the channels 8 (Lane() %
  // 4) + [0, 8) of every 32: mma does not care which channels meet as long as W's do.
  __device__ void LoadTokens() {
    const AttentionArgs& a = args_.attention;
    const TokenView& view = role_ == Role::kQuery ? a.q : a.k;
    Chunk<T> raw[2][kChunks];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = tile_.row + Warp() * kWarpRows + Lane() / 4 + 8 * half;
      inside_[half] = row < tile_.length;
      const T* const x = static_cast<const T*>(view.data) +
                         (tile_.token_begin + row) * view.token_stride + head_ * view.head_stride;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const int begin = 32 * c + 8 * (Lane() % 4);
        raw[half][c] = LoadChunk(x + begin, inside_[half] ? a.dim - begin : 0, aligned_);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float square = 0;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        float values[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) values[e] = ToFloat(raw[half][c].values[e]);
#pragma unroll
        for (int e = 0; e < 8; e += 2) {
          square += values[e] * values[e] + values[e + 1] * values[e + 1];
          __nv_bfloat16 low[P::kInput], high[P::kInput];
          Split(values[e], low);
          Split(values[e + 1], high);
#pragma unroll
          for (int p = 0; p < P::kInput; ++p) tokens_[p][half][c][e / 2] = Pack(low[p], high[p]);
        }
      }
      square += __shfl_xor_sync(~0u, square, 1);
      square += __shfl_xor_sync(~0u, square, 2);
      factor_[half] = static_cast<float>(a.scale);
      if (a.normalize) factor_[half] /= fmaxf(sqrtf(square), kNormEps);
      half_square_[half] = square * factor_[half] * factor_[half] / 2;
    }
  }

  // W x times the factor for features [8 block, 8 block + 8): [0], [1] for the first row and
  // features 2 (Lane() % 4) + {0, 1} of the block, [2], [3] for the second row.
  __device__ void Product(int block, float (&d)[4]) const {
    d[0] = d[1] = d[2] = d[3] = 0;
    constexpr int kOrder = P::kInput > P::kProjection ? P::kInput : P::kProjection;
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int wp = P::kProjection - 1; wp >= 0; --wp) {  // small parts first
        const int r = 8 * block + Lane() / 4;
        const uint4 b = *reinterpret_cast<const uint4*>(
            projection_ + (wp * layout_.padded_features + r) * layout_.kProjectionStride + 64 * c +
            16 * (Lane() % 4));
#pragma unroll
        for (int xp = P::kInput - 1; xp >= 0; --xp) {
          if (wp + xp >= kOrder) continue;
          const auto& x = tokens_[xp];
          MultiplyAdd(d, {x[0][c][0], x[1][c][0], x[0][c][1], x[1][c][1]}, b.x, b.y);
          MultiplyAdd(d, {x[0][c][2], x[1][c][2], x[0][c][3], x[1][c][3]}, b.z, b.w);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) d[i] *= factor_[i / 2];
  }

  __device__ int32_t* Maxima() const {
    return args_.operands.key_maxima +
           (static_cast<int64_t>(local_head_) * args_.attention.sequences.count + tile_.sequence) *
               kMaxColumns;
  }

  __device__ int Feature(int block, int i) const { return 8 * block + 2 * (Lane() % 4) + i % 2; }

  __device__ void RecordMaxima() const {
    if (args_.attention.trigonometric) {
      const float high =
          fmaxf(inside_[0] ? half_square_[0] : -INFINITY, inside_[1] ? half_square_[1] : -INFINITY);
      const int all = __reduce_max_sync(~0u, Ordered(high));
      if (Lane() == 0) atomicMax(Maxima(), all);
      return;
    }
    for (int block = 0; block < layout_.padded_features / 8; ++block) {
      float d[4];
      Product(block, d);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float high = fmaxf(inside_[0] ? d[i] - half_square_[0] : -INFINITY,
                           inside_[1] ? d[i + 2] - half_square_[1] : -INFINITY);
        high = fmaxf(high, __shfl_xor_sync(~0u, high, 4));
        high = fmaxf(high, __shfl_xor_sync(~0u, high, 8));
        high = fmaxf(high, __shfl_xor_sync(~0u, high, 16));
        if (Lane() < 4) atomicMax(Maxima() + Feature(block, i), Ordered(high));
      }
    }
  }

  // log phi of four features; what cancels is left out.
  __device__ void Logarithms(int block, float (&d)[4]) const {
    Product(block, d);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (role_ == Role::kKey) d[i] -= half_square_[i / 2];
      if (args_.operands.key_maxima != nullptr) {
        const int feature = Feature(block, i);
        const float high = feature < args_.attention.features ? FromOrdered(Maxima()[feature]) : 0;
        d[i] += role_ == Role::kKey ? -high : high;
      }
    }
  }

  __device__ void WriteExponentials() {
    const int blocks = layout_.padded_features / 8;
    const int features = args_.attention.features;
    float row_high[2] = {0, 0};
    if (args_.operands.key_maxima != nullptr && role_ == Role::kQuery) {
      row_high[0] = row_high[1] = -INFINITY;
      for (int block = 0; block < blocks; ++block) {
        float d[4];
        Logarithms(block, d);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (Feature(block, i) < features) row_high[i / 2] = fmaxf(row_high[i / 2], d[i]);
        }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        row_high[half] = fmaxf(row_high[half], __shfl_xor_sync(~0u, row_high[half], 1));
        row_high[half] = fmaxf(row_high[half], __shfl_xor_sync(~0u, row_high[half], 2));
      }
    }
#pragma unroll 2
    for (int block = 0; block < blocks; ++block) {
      float d[4];
      Logarithms(block, d);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float phi[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const bool real = inside_[half] && Feature(block, i) < features;
          phi[i] = real ? expf(d[2 * half + i] - row_high[half]) : 0.0f;
        }
        WritePair(half, block, phi[0], phi[1]);
      }
    }
  }

  __device__ void WriteWaves() {
    const int features = args_.attention.features;
    const float high = args_.operands.key_maxima == nullptr ? 0 : FromOrdered(*Maxima());
    for (int block = 0; block < layout_.padded_features / 8; ++block) {
      float d[4];
      Product(block, d);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int half = i / 2, feature = Feature(block, i);
        if (!inside_[half] || feature >= features) continue;
        const float size = role_ == Role::kKey ? expf(half_square_[half] - high) : 1.0f;
        float sine, cosine;
        sincosf(d[i], &sine, &cosine);
        WriteOne(half, feature, size * sine);
        WriteOne(half, features + feature, size * cosine);
      }
    }
  }

  __device__ char* Cell(int part, int half, int column) const {
    const int row = Lane() / 4 + 8 * half;
    const int panel = column / kPanelColumns, inner = column % kPanelColumns;
    return rows_ + (part * layout_.panels + panel) * kWarpRows * kPanelRowBytes +
           SwizzledByte(row, inner / 8) + 2 * (inner % 8);
  }

  __device__ void WritePair(int half, int block, float x, float y) const {
    __nv_bfloat16 low[P::kOutput], high[P::kOutput];
    Split(x, low);
    Split(y, high);
#pragma unroll
    for (int p = 0; p < P::kOutput; ++p) {
      *reinterpret_cast<uint32_t*>(Cell(p, half, 8 * block + 2 * (Lane() % 4))) =
          Pack(low[p], high[p]);
    }
  }

  __device__ void WriteOne(int half, int column, float x) const {
    __nv_bfloat16 parts[P::kOutput];
    Split(x, parts);
#pragma unroll
    for (int p = 0; p < P::kOutput; ++p) {
      *reinterpret_cast<__nv_bfloat16*>(Cell(p, half, column)) = parts[p];
    }
  }

  __device__ void StoreRows() const {
    const TileOperand& operand = role_ == Role::kQuery ? args_.operands.q : args_.operands.k;
    const int64_t row = PaddedBegin(tile_) + tile_.row + Warp() * kWarpRows;
    constexpr int kWords = kWarpRows * kPanelRowBytes / 16;
    for (int p = 0; p < P::kOutput; ++p) {
      for (int panel = 0; panel < layout_.panels; ++panel) {
        const uint4* const from =
            reinterpret_cast<const uint4*>(rows_) + (p * layout_.panels + panel) * kWords;
        uint4* const to = reinterpret_cast<uint4*>(
            PanelOf(args_.operands, operand, p, local_head_, panel) + row * kPanelRowBytes);
        for (int w = Lane(); w < kWords; w += 32) to[w] = from[w];
      }
    }
  }

  const DirectArgs& args_;
  const Role role_;
  const int head_;        // of the tensors
  const int local_head_;  // of the launch
  const bool aligned_;
  const bool projection_aligned_;
  const SharedLayout<kChunks> layout_;
  char* const projection_;
  char* const rows_;
  SequenceTile tile_;
  uint32_t tokens_[P::kInput][2][kChunks][4];
  float factor_[2], half_square_[2];
  bool inside_[2];
};

}  // namespace longwave::attention::cuda::operands

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_OPERAND_FEATURES_CUH_
