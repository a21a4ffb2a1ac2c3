#include <cstdint>

#include "model/attention/cuda/device_types.cuh"
#include "model/attention/cuda/fft_args.h"

// What of the attention is not transformed, in float32: the tiles near a query, the floors by sums
// of chunk states, the diagonals (fft_near.h of the CPU).
namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = 256;  // 16 x 16 of 4 x 4 outputs
constexpr int kTile = kFftChunk;
constexpr int kFirstFar = kFftNearChunks + 1;
static_assert(kTile == 64);

__device__ int RowOf() { return static_cast<int>(threadIdx.x) / 16 * 4; }
__device__ int ColumnOf() { return static_cast<int>(threadIdx.x) % 16 * 4; }

using Tile = float[kTile][kTile];

struct Sums {
  float at[4][4] = {};
};

// sums(row, column) += sum over k of a[k][row] b[k][column].
__device__ void Multiply(const Tile& a, const Tile& b, Sums& sums) {
#pragma unroll 8
  for (int k = 0; k < kTile; ++k) {
    const float4 x = *reinterpret_cast<const float4*>(&a[k][RowOf()]);
    const float4 y = *reinterpret_cast<const float4*>(&b[k][ColumnOf()]);
    const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int r = 0; r < 4; ++r) {
#pragma unroll
      for (int c = 0; c < 4; ++c) sums.at[r][c] += xs[r] * ys[c];
    }
  }
}

// to[f][i] = phi of feature f and token i of a chunk; zero beyond the features.
__device__ void LoadFeatures(const FftArgs& args, const float* phi, int chunk, int feature,
                             Tile& to) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile / 4; i += kThreads) {
    const int f = i / 16, token = i % 16 * 4;
    float4 x = {0, 0, 0, 0};
    if (feature + f < args.features) {
      x = *reinterpret_cast<const float4*>(phi + static_cast<int64_t>(feature + f) * args.capacity +
                                           chunk * kTile + token);
    }
    *reinterpret_cast<float4*>(&to[f][token]) = x;
  }
}

// to[i][f], as LoadFeatures: neighbouring threads take neighbouring channels, whose sectors stay in
// the cache for the tokens beside.
__device__ void LoadFeaturesTransposed(const FftArgs& args, const float* phi, int chunk,
                                       int feature, Tile& to) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < 32; i += kThreads / 32) {
    const int f = i % 2 * 32 + lane, token = i / 2 * 4;
    float4 x = {0, 0, 0, 0};
    if (feature + f < args.features) {
      x = *reinterpret_cast<const float4*>(phi + static_cast<int64_t>(feature + f) * args.capacity +
                                           chunk * kTile + token);
    }
    to[token][f] = x.x;
    to[token + 1][f] = x.y;
    to[token + 2][f] = x.z;
    to[token + 3][f] = x.w;
  }
}

// to[j][e] of value channels `column` on.
__device__ void LoadValues(const FftArgs& args, const float2* values, int chunk, int column,
                           Tile& to) {
  const int pair = static_cast<int>(threadIdx.x) % 32;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < 32; i += kThreads / 32) {
    float4 x = {0, 0, 0, 0};
    if (column / 2 + pair < args.pairs) {
      x = *reinterpret_cast<const float4*>(
          values + static_cast<int64_t>(column / 2 + pair) * args.capacity + chunk * kTile + 2 * i);
    }
    *reinterpret_cast<float2*>(&to[2 * i][2 * pair]) = {x.x, x.y};
    *reinterpret_cast<float2*>(&to[2 * i + 1][2 * pair]) = {x.z, x.w};
  }
}

__device__ int Chunks(const FftArgs& args) {
  const int length = min(SpanOf(args.attention.sequences, args.sequence).length(), args.capacity);
  return (length + kTile - 1) / kTile;
}

__device__ const FftNear& NearOf(const FftArgs& args, int local_head) {
  return args.near[args.attention.head_begin + local_head];
}

__device__ bool HasFloor(const FftNear& near) {
  return near.left_floor > 0 || near.right_floor > 0;
}

// Blocks (chunk, head).
__global__ void __launch_bounds__(kThreads) States(const __grid_constant__ FftArgs args) {
  __shared__ __align__(16) Tile phi;
  __shared__ __align__(16) Tile values;
  const int chunk = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  if (chunk >= Chunks(args) || !HasFloor(NearOf(args, head))) return;
  const int columns = FftStateColumns(args);
  float* const state =
      args.states + (static_cast<int64_t>(head) * gridDim.x + chunk) * FftStateSize(args);
  const float* const keys = args.phi_k + static_cast<int64_t>(head) * args.features * args.capacity;
  for (int feature = 0; feature < args.features; feature += kTile) {
    __syncthreads();
    LoadFeaturesTransposed(args, keys, chunk, feature, phi);
    for (int column = 0; column < columns; column += kTile) {
      __syncthreads();
      LoadValues(args, args.values + static_cast<int64_t>(head) * args.pairs * args.capacity, chunk,
                 column, values);
      __syncthreads();
      Sums sums;
      Multiply(phi, values, sums);
      for (int r = 0; r < 4; ++r) {
        const int f = feature + RowOf() + r, e = column + ColumnOf();
        if (f < args.features && e < columns) {
          for (int c = 0; c < 4; ++c) state[f * columns + e + c] = sums.at[r][c];
        }
      }
    }
    if (threadIdx.x < kTile && feature + static_cast<int>(threadIdx.x) < args.features) {
      float sum = 0;
      for (int j = 0; j < kTile; ++j) sum += phi[j][threadIdx.x];
      state[args.features * columns + feature + threadIdx.x] = sum;
    }
  }
}

constexpr int kScanThreads = 128;

// Blocks (elements of a state, head): the sums over the chunks beyond the near ones, in float64.
__global__ void __launch_bounds__(kScanThreads)
    SumStates(const __grid_constant__ FftArgs args, int stored_chunks) {
  const int head = static_cast<int>(blockIdx.y);
  const int64_t size = FftStateSize(args);
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kScanThreads + threadIdx.x;
  const FftNear& near = NearOf(args, head);
  if (element >= size || !HasFloor(near)) return;
  const int chunks = Chunks(args);
  const float* __restrict__ const from =
      args.states + static_cast<int64_t>(head) * stored_chunks * size + element;
  float* __restrict__ const to =
      args.state_sums + static_cast<int64_t>(head) * stored_chunks * size + element;
  double sum = 0;
  const double left = near.left_floor, right = near.right_floor;
#pragma unroll 8
  for (int c = 0; c < chunks; ++c) {
    sum += c >= kFirstFar ? from[(c - kFirstFar) * size] : 0.0F;
    to[c * size] = static_cast<float>(left * sum);
  }
  if (right == 0) return;
  sum = 0;
#pragma unroll 8
  for (int c = chunks - 1; c >= 0; --c) {
    sum += c + kFirstFar < chunks ? from[(c + kFirstFar) * size] : 0.0F;
    to[c * size] += static_cast<float>(right * sum);
  }
}

// Where the weight of key j and query i lies, 4 rows at a time apart in the banks.
__device__ int Place(int key, int row) { return (row / 4 + key / 4) % 16 * 4 + row % 4; }

// Blocks (chunk of queries, head, 64 value channels).
__global__ void __launch_bounds__(kThreads)
    NearTiles(const __grid_constant__ FftArgs args, int stored_chunks) {
  extern __shared__ __align__(16) unsigned char storage[];
  Tile& queries = reinterpret_cast<Tile*>(storage)[0];
  Tile& keys = reinterpret_cast<Tile*>(storage)[1];  // later values
  Tile& scores = reinterpret_cast<Tile*>(storage)[2];
  const int chunk = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int column = static_cast<int>(blockIdx.z) * kTile;
  const int chunks = Chunks(args);
  if (chunk >= chunks) return;
  const FftNear& near = NearOf(args, head);
  const int64_t first_channel = static_cast<int64_t>(head) * args.features;
  const float* const phi_q = args.phi_q + first_channel * args.capacity;
  const float* const phi_k = args.phi_k + first_channel * args.capacity;
  const float2* const values =
      args.values + static_cast<int64_t>(head) * args.pairs * args.capacity;

  Sums out;
  float denominators[4] = {};  // of the thread's columns only, until the end
  if (HasFloor(near)) {
    const int columns = FftStateColumns(args);
    const float* const state =
        args.state_sums + (static_cast<int64_t>(head) * stored_chunks + chunk) * FftStateSize(args);
    for (int feature = 0; feature < args.features; feature += kTile) {
      __syncthreads();
      LoadFeatures(args, phi_q, chunk, feature, queries);
      for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile; i += kThreads) {
        const int f = i / kTile, e = column + i % kTile;
        keys[f][i % kTile] =
            feature + f < args.features && e < columns ? state[(feature + f) * columns + e] : 0.0F;
      }
      __syncthreads();
      Multiply(queries, keys, out);
      // The 16 threads of a row share its features.
      for (int u = 0; u < 4; ++u) {
        const int f = ColumnOf() + u;
        if (feature + f >= args.features) break;
        const float sum = state[args.features * columns + feature + f];
        for (int r = 0; r < 4; ++r) denominators[r] += queries[f][RowOf() + r] * sum;
      }
    }
  }
  for (int key = max(0, chunk - kFftNearChunks); key <= min(chunks - 1, chunk + kFftNearChunks);
       ++key) {
    Sums products;
    for (int feature = 0; feature < args.features; feature += kTile) {
      __syncthreads();
      LoadFeatures(args, phi_q, chunk, feature, queries);
      LoadFeatures(args, phi_k, key, feature, keys);
      __syncthreads();
      Multiply(queries, keys, products);
    }
    const float* const weights = near.weights + kFftNearWeights / 2 + (key - chunk) * kTile;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float score = products.at[r][c] * weights[ColumnOf() + c - RowOf() - r];
        denominators[r] += score;
        scores[ColumnOf() + c][Place(ColumnOf() + c, RowOf() + r)] = score;
      }
    }
    __syncthreads();
    LoadValues(args, values, key, column, keys);
    __syncthreads();
#pragma unroll 8
    for (int k = 0; k < kTile; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&scores[k][Place(k, RowOf())]);
      const float4 y = *reinterpret_cast<const float4*>(&keys[k][ColumnOf()]);
      const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) out.at[r][c] += xs[r] * ys[c];
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 4; ++r) {
    for (int other = 8; other > 0; other /= 2) {
      denominators[r] += __shfl_xor_sync(~0U, denominators[r], other);
    }
  }
  const int row = chunk * kTile + RowOf();
  if (column == 0 && ColumnOf() == 0) {
    for (int r = 0; r < 4; ++r) {
      args.denominators[static_cast<int64_t>(head) * args.capacity + row + r] = {denominators[r],
                                                                                 0};
    }
  }
  for (int c = 0; c < 4; c += 2) {
    const int pair = (column + ColumnOf() + c) / 2;
    if (pair >= args.pairs) continue;
    auto* const to = reinterpret_cast<float4*>(
        args.numerators + (static_cast<int64_t>(head) * args.pairs + pair) * args.capacity + row);
    to[0] = {out.at[0][c], out.at[0][c + 1], out.at[1][c], out.at[1][c + 1]};
    to[1] = {out.at[2][c], out.at[2][c + 1], out.at[3][c], out.at[3][c + 1]};
  }
}

// Blocks (queries, head).
__global__ void __launch_bounds__(kThreads) Diagonals(const __grid_constant__ FftArgs args) {
  const int head = static_cast<int>(blockIdx.y);
  const int i = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
  const FftNear& near = NearOf(args, head);
  const int length = min(SpanOf(args.attention.sequences, args.sequence).length(), args.capacity);
  if (i >= length) return;
  const int64_t channel = static_cast<int64_t>(head) * args.features;
  const int64_t pair = static_cast<int64_t>(head) * args.pairs;
  for (int n = 0; n < near.diagonal_count; ++n) {
    const FftDiagonal diagonal = near.diagonals[n];
    const int j = i + diagonal.distance;
    if (j < 0 || j >= length) continue;
    float dot = 0;
    for (int f = 0; f < args.features; ++f) {
      dot += args.phi_q[(channel + f) * args.capacity + i] *
             args.phi_k[(channel + f) * args.capacity + j];
    }
    const float score = diagonal.weight * dot;
    args.denominators[static_cast<int64_t>(head) * args.capacity + i].x += score;
    for (int p = 0; p < args.pairs; ++p) {
      const float2 v = args.values[(pair + p) * args.capacity + j];
      float2& sum = args.numerators[(pair + p) * args.capacity + i];
      sum.x += score * v.x;
      sum.y += score * v.y;
    }
  }
}

}  // namespace

cudaError_t LaunchFftNear(const FftArgs& args, bool floors, cudaStream_t stream) {
  const int chunks = args.capacity / kTile;
  cudaError_t error = cudaSuccess;
  if (floors) {
    States<<<dim3(chunks, args.heads), kThreads, 0, stream>>>(args);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    const int size = FftStateSize(args);
    SumStates<<<dim3((size + kScanThreads - 1) / kScanThreads, args.heads), kScanThreads, 0,
                stream>>>(args, chunks);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
  }
  constexpr size_t kBytes = 3 * sizeof(Tile);
  const dim3 grid(chunks, args.heads, (2 * args.pairs + kTile - 1) / kTile);
  NearTiles<<<grid, kThreads, kBytes, stream>>>(args, chunks);
  if ((error = cudaGetLastError()) != cudaSuccess) return error;
  Diagonals<<<dim3((args.capacity + kThreads - 1) / kThreads, args.heads), kThreads, 0, stream>>>(
      args);
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
