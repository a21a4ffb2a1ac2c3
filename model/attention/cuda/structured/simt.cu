// "structured" in float32 for any dtype and size: the same passes as the mma kernels, on float32
// units. Tiles of 64 x 64 outputs, 4 x 4 of them a thread.
#include "model/attention/cuda/structured/blocks.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;
constexpr int kDepth = 16;  // of a step of a product

// Operands of a step, the summed index first; one more column against bank conflicts.
struct Operands {
  float a[kDepth][kTile + 4];
  float b[kDepth][kTile + 4];
};

struct Sums {
  float at[4][4] = {};
};

__device__ int RowOf(int r) { return static_cast<int>(threadIdx.x) / 16 * 4 + r; }
__device__ int ColumnOf(int c) { return static_cast<int>(threadIdx.x) % 16 * 4 + c; }

// sums += sum over k < depth of a(row, k) b(k, column), row and column in [0, kTile).
template <typename A, typename B>
__device__ void Multiply(int depth, const A& a, const B& b, Operands& operands, Sums& sums) {
  for (int begin = 0; begin < depth; begin += kDepth) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kDepth * kTile; i += kThreads) {
      // Neighbouring threads take neighbouring k of a, neighbouring columns of b: as they lie.
      const int k = begin + i % kDepth;
      operands.a[i % kDepth][i / kDepth] = k < depth ? a(i / kDepth, k) : 0.0F;
      const int l = begin + i / kTile;
      operands.b[i / kTile][i % kTile] = l < depth ? b(l, i % kTile) : 0.0F;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = operands.a[k][RowOf(i)];
        y[i] = operands.b[k][ColumnOf(i)];
      }
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sums.at[r][c] += x[r] * y[c];
      }
    }
  }
}

template <typename T>
__device__ float ToFloat(T x) {
  return static_cast<float>(ToDouble(x));
}

// phi of one side for a block: logarithms first, then, for queries less their row's maximum, exp.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    Features(const __grid_constant__ StructuredArgs args, int padded) {
  __shared__ Operands operands;
  __shared__ float factors[kBlock], half_squares[kBlock];
  const AttentionArgs& base = args.base;
  const int slot = static_cast<int>(blockIdx.x), local_head = static_cast<int>(blockIdx.y);
  const int head = base.head_begin + local_head;
  const bool query = blockIdx.z == 1;
  if (slot == 0 && local_head == 0 && !query && threadIdx.x == 0) *args.doubt_count = 0;
  const BlockPosition position = Locate(base.sequences, slot);
  if (position.rows == 0) return;
  const TokenView& view = query ? base.q : base.k;
  const T* const tokens = static_cast<const T*>(view.data) + position.first * view.token_stride +
                          head * view.head_stride;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = warp; row < kBlock; row += kThreads / 32) {
    float square = 0;
    if (row < position.rows) {
      for (int e = lane; e < base.dim; e += 32) {
        const float x = ToFloat(tokens[row * view.token_stride + e]);
        square += x * x;
      }
    }
    for (int other = 16; other > 0; other /= 2) square += __shfl_xor_sync(~0U, square, other);
    float factor = static_cast<float>(base.scale);
    if (base.normalize) factor /= fmaxf(sqrtf(square), 1e-12F);
    if (!(square < 1e37F)) factor = __int_as_float(0x7fffffff);  // NaN, so that the row is found
    if (lane == 0) {
      factors[row] = factor;
      half_squares[row] = query ? 0.0F : 0.5F * square * factor * factor;
    }
  }
  __syncthreads();
  float* const out = static_cast<float*>(query ? args.features_q : args.features_k) +
                     (static_cast<int64_t>(local_head) * args.slots + slot) * kBlock * padded;
  const float* const w = base.projection + head * base.projection_head_stride;
  for (int first = 0; first < kBlock; first += kTile) {
    for (int feature = 0; feature < base.features; feature += kTile) {
      Sums sums;
      Multiply(
          base.dim,
          [&](int r, int e) {
            const int row = first + r;
            return row < position.rows ? ToFloat(tokens[row * view.token_stride + e]) * factors[row]
                                       : 0.0F;
          },
          [&](int e, int f) {
            return feature + f < base.features ? w[(feature + f) * base.projection_row_stride + e]
                                               : 0.0F;
          },
          operands, sums);
      for (int r = 0; r < 4; ++r) {
        for (int c = 0; c < 4; ++c) {
          const int f = feature + ColumnOf(c), row = first + RowOf(r);
          if (f < base.features) out[row * padded + f] = sums.at[r][c] - half_squares[row];
        }
      }
    }
  }
  __syncthreads();
  for (int row = warp; row < kBlock; row += kThreads / 32) {
    float largest = query ? -INFINITY : 0.0F;
    if (query) {
      for (int f = lane; f < base.features; f += 32)
        largest = fmaxf(largest, out[row * padded + f]);
      for (int other = 16; other > 0; other /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(~0U, largest, other));
      }
    }
    for (int f = lane; f < padded; f += 32) {
      const bool valid = f < base.features && row < position.rows;
      out[row * padded + f] = valid ? expf(out[row * padded + f] - largest) : 0.0F;
    }
  }
}

// The states of a block, one group a thread block.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    States(const __grid_constant__ StructuredArgs args, StateShape shape) {
  __shared__ Operands operands;
  const AttentionArgs& base = args.base;
  const int slot = static_cast<int>(blockIdx.x), local_head = static_cast<int>(blockIdx.y);
  const int head = base.head_begin + local_head;
  const BlockPosition position = Locate(base.sequences, slot);
  const HeadPlan plan = args.plan.heads[head];
  const int g = plan.group_begin + static_cast<int>(blockIdx.z);
  if (position.rows == 0 || g >= plan.group_end) return;
  const StateGroup group = args.plan.groups[g];
  const float* const factors = args.plan.key_factors + g * kBlock;
  const int64_t place = static_cast<int64_t>(local_head) * args.slots + slot;
  const float* const phi =
      static_cast<const float*>(args.features_k) + place * kBlock * shape.features;
  const T* const values = static_cast<const T*>(base.v.data) +
                          position.first * base.v.token_stride + head * base.v.head_stride;
  float* const state = static_cast<float*>(args.states) +
                       (place * args.plan.max_groups + g - plan.group_begin) * shape.size();
  for (int feature = 0; feature < shape.features; feature += kTile) {
    for (int column = 0; column < shape.columns; column += kTile) {
      Sums sums;
      Multiply(
          position.rows,
          [&](int f, int j) {
            const float factor = group.weighted ? factors[j] : 1.0F;
            return feature + f < shape.features ? factor * phi[j * shape.features + feature + f]
                                                : 0.0F;
          },
          [&](int j, int c) {
            const int e = column + c;
            return e < base.value_dim ? ToFloat(values[j * base.v.token_stride + e])
                                      : (e == base.value_dim ? 1.0F : 0.0F);
          },
          operands, sums);
      for (int r = 0; r < 4; ++r) {
        for (int c = 0; c < 4; ++c) {
          const int f = feature + RowOf(r), e = column + ColumnOf(c);
          if (f < shape.features && e < shape.columns) state[f * shape.columns + e] = sums.at[r][c];
        }
      }
    }
  }
}

// 64 rows and 64 value channels of the output.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    Outputs(const __grid_constant__ StructuredArgs args, StateShape shape) {
  __shared__ Operands operands;
  __shared__ float scores[kTile][kTile + 1];
  __shared__ float denominators[kTile];
  const AttentionArgs& base = args.base;
  const int slot = static_cast<int>(blockIdx.x) / 2,
            first = static_cast<int>(blockIdx.x) % 2 * kTile;
  const int local_head = static_cast<int>(blockIdx.y), head = base.head_begin + local_head;
  const int column = static_cast<int>(blockIdx.z) * kTile;
  const BlockPosition position = Locate(base.sequences, slot);
  if (first >= position.rows) return;
  const HeadPlan plan = args.plan.heads[head];
  const int64_t place = static_cast<int64_t>(local_head) * args.slots + slot;
  const float* const phi_q =
      static_cast<const float*>(args.features_q) + (place * kBlock + first) * shape.features;
  // The sum of a row is the product with one more column: kept by the thread of its own.
  if (threadIdx.x < kTile) denominators[threadIdx.x] = 0;

  Sums sums;
  for (int g = plan.group_begin; g < plan.group_end; ++g) {
    const StateGroup group = args.plan.groups[g];
    const float* const factors = args.plan.query_factors + g * kBlock;
    const float* const state = static_cast<const float*>(args.sums) +
                               (place * args.plan.max_groups + g - plan.group_begin) * shape.size();
    const auto factor = [&](int r) { return group.weighted ? factors[first + r] : 1.0F; };
    Multiply(
        shape.features, [&](int r, int f) { return factor(r) * phi_q[r * shape.features + f]; },
        [&](int f, int c) {
          return column + c < base.value_dim ? state[f * shape.columns + column + c] : 0.0F;
        },
        operands, sums);
    if (threadIdx.x < kTile) {
      float sum = 0;
      for (int f = 0; f < shape.features; ++f) {
        sum += phi_q[threadIdx.x * shape.features + f] * state[f * shape.columns + base.value_dim];
      }
      denominators[threadIdx.x] += factor(static_cast<int>(threadIdx.x)) * sum;
    }
  }

  const DirectRange tiles = DirectTilesOf(args.plan, plan, position);
  for (int step = 2 * tiles.begin; step < 2 * tiles.end; ++step) {
    const int offset = args.plan.offsets[step / 2], part = step % 2 * kTile;
    const int keys = min(kTile, position.length - (position.index + offset) * kBlock - part);
    if (keys <= 0) continue;
    const float* const phi_k = static_cast<const float*>(args.features_k) +
                               ((place + offset) * kBlock + part) * shape.features;
    Sums products;
    Multiply(
        shape.features, [&](int i, int f) { return phi_q[i * shape.features + f]; },
        [&](int f, int j) { return phi_k[j * shape.features + f]; }, operands, products);
    const float* const weights =
        args.plan.weights + static_cast<int64_t>(step / 2) * kTileWeights + kBlock - 1;
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 4; ++c) {
        scores[RowOf(r)][ColumnOf(c)] =
            products.at[r][c] * weights[part + ColumnOf(c) - first - RowOf(r)];
      }
    }
    __syncthreads();
    if (threadIdx.x < kTile) {
      float sum = 0;
      for (int j = 0; j < keys; ++j) sum += scores[threadIdx.x][j];
      denominators[threadIdx.x] += sum;
    }
    const T* const values = static_cast<const T*>(base.v.data) +
                            (position.first + offset * kBlock + part) * base.v.token_stride +
                            head * base.v.head_stride + column;
    Multiply(
        keys, [&](int i, int j) { return scores[i][j]; },
        [&](int j, int c) {
          return column + c < base.value_dim ? ToFloat(values[j * base.v.token_stride + c]) : 0.0F;
        },
        operands, sums);
  }

  bool too_long = false;
  const float* const w = base.projection + head * base.projection_head_stride;
  for (int f = static_cast<int>(threadIdx.x); f < base.features; f += kThreads) {
    float square = 0;
    for (int e = 0; e < base.dim; ++e) {
      square += w[f * base.projection_row_stride + e] * w[f * base.projection_row_stride + e];
    }
    too_long |= !(square <= args.max_norm * args.max_norm);
  }
  too_long = __syncthreads_or(too_long);
  for (int r = 0; r < 4; ++r) {
    const int row = first + RowOf(r);
    if (row >= position.rows) continue;
    const float denominator = denominators[RowOf(r)];
    T* const out = static_cast<T*>(base.out.data) + (position.first + row) * base.out.token_stride +
                   head * base.out.head_stride;
    for (int c = 0; c < 4; ++c) {
      if (column + ColumnOf(c) < base.value_dim) {
        out[column + ColumnOf(c)] = FromDouble<T>(sums.at[r][c] / denominator);
      }
    }
    if (column == 0 && ColumnOf(0) == 0 &&
        (too_long || !Trusted(denominator, position.length, base.features))) {
      MarkDoubt(args, position.first + row, head);
    }
  }
}

}  // namespace

StateShape SimtState(int features, int value_dim) {
  return {features, (value_dim + 2) / 2 * 2};  // even: the scan takes pairs
}

cudaError_t LaunchSimtKeys(const StructuredArgs& args, cudaStream_t stream) {
  const StateShape shape = SimtState(args.base.features, args.base.value_dim);
  const unsigned heads = args.base.head_end - args.base.head_begin;
  return Dispatch(args.base.dtype, [&](auto element) {
    using T = decltype(element);
    Features<T><<<dim3(args.slots, heads, 2), kThreads, 0, stream>>>(args, shape.features);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) return error;
    if (args.plan.max_groups == 0) return cudaSuccess;
    States<T><<<dim3(args.slots, heads, args.plan.max_groups), kThreads, 0, stream>>>(args, shape);
    return cudaGetLastError();
  });
}

cudaError_t LaunchSimtQueries(const StructuredArgs& args, cudaStream_t stream) {
  const StateShape shape = SimtState(args.base.features, args.base.value_dim);
  const unsigned heads = args.base.head_end - args.base.head_begin;
  return Dispatch(args.base.dtype, [&](auto element) {
    using T = decltype(element);
    const dim3 grid(2 * args.slots, heads, (args.base.value_dim + kTile - 1) / kTile);
    Outputs<T><<<grid, kThreads, 0, stream>>>(args, shape);
    return cudaGetLastError();
  });
}

}  // namespace longwave::attention::cuda
