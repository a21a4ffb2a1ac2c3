#include <cfloat>
#include <cstdint>
#include <type_traits>

#include "model/attention/cuda/device_types.cuh"
#include "model/attention/cuda/fft_block.cuh"
#include "model/attention/cuda/fft_passes.h"
#include "model/attention/cuda/per_device.h"

namespace longwave::attention::cuda {
namespace {

constexpr int kColumnThreads = 256;

// Columns that a block of the first and third pass takes: at least a 32-byte sector of every row.
__host__ __device__ constexpr int BlockColumns(int points) {
  const int columns = kColumnThreads / (points / kThreadPoints);
  return columns < 4 ? 4 : columns > 32 ? 32 : columns;
}

// A block of these passes. Two of them on a multiprocessor hide each other's barriers.
template <int kRows>
struct ColumnBlock {
  static constexpr int kColumns = BlockColumns(kRows);
  static constexpr int kThreads = kRows / kThreadPoints * kColumns;
  static constexpr int kPerMultiprocessor = kThreads <= 256 ? 2 : 1;
  using Fft = BlockFft<kRows, kColumns>;
  static constexpr size_t kSharedBytes = Fft::kSharedPoints * sizeof(float2);
};

// Rows that a block of the second pass takes: 64 threads and more.
__host__ __device__ constexpr int BlockRows(int points) {
  const int rows = 128 / (points / kThreadPoints);
  return rows < 1 ? 1 : rows > 32 ? 32 : rows;
}

// exp(-2 pi i (k mod size) / size), size a power of two up to 2^22.
__device__ float2 Root(int64_t k, int size) {
  const float turns = static_cast<float>(k & (size - 1)) / static_cast<float>(size);
  float2 w;
  sincospif(-2 * turns, &w.y, &w.x);
  return w;
}

// The twiddles between columns and rows that a thread needs: exp(-2 pi i column row / N) for the
// rows t + x * kThreads, x = 0 to 15. They serve every channel.
template <int kRows, int kColumns>
class BetweenPasses {
 public:
  __device__ BetweenPasses(int column, int t) {
    first_ = Root(static_cast<int64_t>(column) * t, kRows * kColumns);
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      step_[p] = Root(static_cast<int64_t>(column) << p, kThreadPoints * kColumns);
    }
  }

  template <bool kInverse>
  __device__ void Apply(float2 (&v)[kThreadPoints]) const {
    float2 w[kThreadPoints];
    w[0] = first_;
#pragma unroll
    for (int x = 1; x < kThreadPoints; ++x) {
      const int p = x >= 8 ? 3 : x >= 4 ? 2 : x >= 2 ? 1 : 0;
      w[x] = w[x - (1 << p)] * step_[p];
    }
#pragma unroll
    for (int x = 0; x < kThreadPoints; ++x) v[x] = v[x] * Direction<kInverse>::Root(w[x]);
  }

 private:
  float2 first_;
  float2 step_[4];
};

struct UnitView {
  int head;              // of the launch
  const float2* values;  // null: denominators
};

__device__ UnitView UnitOf(const FftArgs& args, const FftStep& step, int unit) {
  if (step.denominators) return {unit, nullptr};
  return {unit / args.pairs, args.values + static_cast<int64_t>(unit) * args.capacity};
}

__device__ int64_t ChannelOffset(const FftArgs& args, const FftStep& step, int unit, int channel) {
  return (static_cast<int64_t>(unit) * step.channels + channel) * args.rows * args.columns;
}

// Blocks (columns, unit).
template <int kRows, int kColumns>
__global__ void __launch_bounds__(ColumnBlock<kRows>::kThreads,
                                  ColumnBlock<kRows>::kPerMultiprocessor)
    ForwardColumns(const __grid_constant__ FftArgs args, FftStep step) {
  using Block = ColumnBlock<kRows>;
  using Fft = typename Block::Fft;
  extern __shared__ float2 shared[];
  const int c = threadIdx.x % Block::kColumns, t = threadIdx.x / Block::kColumns;
  const int column = static_cast<int>(blockIdx.x) * Block::kColumns + c;
  const UnitView unit = UnitOf(args, step, step.unit_begin + static_cast<int>(blockIdx.y));
  // Point x of the thread is kStride * x behind its first.
  constexpr int kStride = Fft::kThreads * kColumns, kHalf = kRows * kColumns / 2;
  const int first = t * kColumns + column;
  const BetweenPasses<kRows, kColumns> between(column, t);
  const float* phi = args.phi_k + first +
                     (static_cast<int64_t>(unit.head) * args.features +
                      step.channel_begin * (step.denominators ? 2 : 1)) *
                         kHalf;
  float2* to = args.channels + ChannelOffset(args, step, blockIdx.y, 0) + first;

#pragma unroll 1
  for (int f = 0; f < step.channels; ++f) {
    float2 v[kThreadPoints];
    // The second half of the points is padding.
#pragma unroll
    for (int x = 0; x < kThreadPoints / 2; ++x) {
      const float feature = __ldg(phi + x * kStride);
      if (step.denominators) {
        v[x] = {feature, __ldg(phi + kHalf + x * kStride)};
      } else {
        const float2 value = __ldg(unit.values + first + x * kStride);
        v[x] = {feature * value.x, feature * value.y};
      }
      v[x + kThreadPoints / 2] = {0, 0};
    }
    phi += step.denominators ? 2 * kHalf : kHalf;
    Fft::template Run<false>(v, t, c, shared, args.roots);
    between.template Apply<false>(v);
#pragma unroll
    for (int x = 0; x < kThreadPoints; ++x) to[x * kStride] = v[x];
    to += 2 * kHalf;
  }
}

// The sum over the block's threads, in thread 0, in a fixed order. A multiple of 32 threads.
__device__ float BlockSum(float x) {
  __shared__ float sums[32];
  for (int other = 16; other > 0; other /= 2) x += __shfl_xor_sync(~0U, x, other);
  __syncthreads();
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) sum += sums[w];
  return sum;
}

// Blocks (rows, unit).
template <int kPoints>
__global__ void __launch_bounds__(kPoints / kThreadPoints * BlockRows(kPoints),
                                  kPoints > 2048 ? 2 : 4)
    Rows(const __grid_constant__ FftArgs args, FftStep step) {
  constexpr int kRows = BlockRows(kPoints);
  using Fft = BlockFft<kPoints, 1>;
  extern __shared__ float2 shared[];
  const int t = threadIdx.x % Fft::kThreads, r = threadIdx.x / Fft::kThreads;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + r;
  const UnitView unit = UnitOf(args, step, step.unit_begin + static_cast<int>(blockIdx.y));
  const float2* const spectrum =
      args.spectrum +
      ((args.attention.head_begin + unit.head) * static_cast<int64_t>(args.rows) + row) * kPoints +
      t;
  float2* channel = args.channels + ChannelOffset(args, step, blockIdx.y, 0) + row * kPoints + t;
  const int64_t channel_size = static_cast<int64_t>(args.rows) * kPoints;
  const float weights = args.weight_norms[args.attention.head_begin + unit.head];
  // A denormal norm has no inverse in float32, and nothing to transform that counts.
  const float unit_weight = weights >= FLT_MIN ? 1 / weights : 0;
#pragma unroll 1
  for (int f = 0; f < step.channels; ++f, channel += channel_size) {
    float2 v[kThreadPoints];
#pragma unroll
    for (int x = 0; x < kThreadPoints; ++x) v[x] = channel[x * Fft::kThreads];
    float2* const own = shared + r * Fft::kSharedPoints;
    Fft::template Run<false>(v, t, 0, own, args.roots);
#pragma unroll
    for (int x = 0; x < kThreadPoints; ++x) v[x] = v[x] * __ldg(spectrum + x * Fft::kThreads);
    if (step.denominators) {
      float energy = 0;
#pragma unroll
      for (int x = 0; x < kThreadPoints; ++x) {
        const float2 y = {v[x].x * unit_weight, v[x].y * unit_weight};
        energy += y.x * y.x + y.y * y.y;
      }
      energy = BlockSum(energy);
      if (threadIdx.x == 0) {
        const int64_t pair =
            static_cast<int64_t>(unit.head) * (args.features / 2) + step.channel_begin + f;
        args.energies[pair * gridDim.x + blockIdx.x] = energy;
      }
    }
    Fft::template Run<true>(v, t, 0, own, args.roots);
#pragma unroll
    for (int x = 0; x < kThreadPoints; ++x) channel[x * Fft::kThreads] = v[x];
  }
}

constexpr int kNoiseThreads = 256;

// Blocks (channel of the step, head): how much a channel's convolution errs.
//
// Rounding in the two transforms is white: about eps |c| |x| / sqrt(N) an element from the forward
// one, eps |y| / sqrt(N) from the inverse one. In units of |c|: where a table has decayed far, the
// squares of the errors themselves would be below float32's range.
__global__ void __launch_bounds__(kNoiseThreads)
    Noise(const __grid_constant__ FftArgs args, FftStep step, int row_blocks) {
  const int head = step.unit_begin + static_cast<int>(blockIdx.y);
  const int pair = step.channel_begin + static_cast<int>(blockIdx.x);
  const float* const phi =
      args.phi_k + (static_cast<int64_t>(head) * args.features + 2 * pair) * args.capacity;
  const int64_t at = static_cast<int64_t>(head) * (args.features / 2) + pair;
  float square = 0, energy = 0;
#pragma unroll 8
  for (int j = threadIdx.x; j < 2 * args.capacity; j += kNoiseThreads) square += phi[j] * phi[j];
  for (int b = threadIdx.x; b < row_blocks; b += kNoiseThreads) {
    energy += args.energies[at * row_blocks + b];
  }
  square = BlockSum(square);
  energy = BlockSum(energy);
  if (threadIdx.x != 0) return;
  const float size = 2.0F * static_cast<float>(args.capacity);
  const float eps = 5.96e-8F * sqrtf(log2f(size) / size);
  args.noise[at] = eps * (sqrtf(square) + sqrtf(size * energy));
}

// Blocks (columns, unit).
template <int kRows, int kColumns>
__global__ void __launch_bounds__(ColumnBlock<kRows>::kThreads,
                                  ColumnBlock<kRows>::kPerMultiprocessor)
    BackwardColumns(const __grid_constant__ FftArgs args, FftStep step) {
  using Block = ColumnBlock<kRows>;
  using Fft = typename Block::Fft;
  extern __shared__ float2 shared[];
  const int c = threadIdx.x % Block::kColumns, t = threadIdx.x / Block::kColumns;
  const int column = static_cast<int>(blockIdx.x) * Block::kColumns + c;
  const int number = step.unit_begin + static_cast<int>(blockIdx.y);
  const UnitView unit = UnitOf(args, step, number);
  constexpr int kStride = Fft::kThreads * kColumns, kHalf = kRows * kColumns / 2;
  const int first = t * kColumns + column;
  const BetweenPasses<kRows, kColumns> between(column, t);
  const int first_feature = step.channel_begin * (step.denominators ? 2 : 1);
  const float* phi = args.phi_q +
                     (static_cast<int64_t>(unit.head) * args.features + first_feature) * kHalf +
                     first;
  const float* noise =
      args.noise + static_cast<int64_t>(unit.head) * (args.features / 2) + step.channel_begin;
  const float2* from = args.channels + ChannelOffset(args, step, blockIdx.y, 0) + first;
  float2* const to = (step.denominators ? args.denominators : args.numerators) +
                     static_cast<int64_t>(number) * kHalf + first;

  float2 sums[kThreadPoints / 2];  // of the denominators: the sum and the square of its error
#pragma unroll
  for (int x = 0; x < kThreadPoints / 2; ++x) sums[x] = to[x * kStride];
#pragma unroll 1
  for (int f = 0; f < step.channels; ++f) {
    float2 v[kThreadPoints];
#pragma unroll
    for (int x = 0; x < kThreadPoints; ++x) v[x] = from[x * kStride];
    from += 2 * kHalf;
    between.template Apply<true>(v);
    Fft::template Run<true>(v, t, c, shared, args.roots);
    if (step.denominators) {
      const float square = noise[f] * noise[f];
#pragma unroll
      for (int x = 0; x < kThreadPoints / 2; ++x) {
        const float a = __ldg(phi + x * kStride), b = __ldg(phi + kHalf + x * kStride);
        sums[x].x += a * v[x].x + b * v[x].y;
        sums[x].y += (a * a + b * b) * square;
      }
      phi += 2 * kHalf;
    } else {
#pragma unroll
      for (int x = 0; x < kThreadPoints / 2; ++x) {
        const float feature = __ldg(phi + x * kStride);
        sums[x].x += feature * v[x].x;
        sums[x].y += feature * v[x].y;
      }
      phi += kHalf;
    }
  }

  // Rows without a key in the transformed part would get its rounding errors only.
  const FftNear& near = args.near[args.attention.head_begin + unit.head];
  const int length = SpanOf(args.attention.sequences, args.sequence).length();
#pragma unroll
  for (int x = 0; x < kThreadPoints / 2; ++x) {
    const int position = first + x * kStride;
    if (position >= near.left_nearest || length - 1 - position >= near.right_nearest) {
      to[x * kStride] = sums[x];
    }
  }
}

// Calls launch(std::integral_constant<int, points>) for kFirst <= points, a power of two.
template <int kFirst, int kLast, typename Launch>
cudaError_t WithPoints(int points, const Launch& launch) {
  if (points == kFirst) return launch(std::integral_constant<int, kFirst>());
  if constexpr (kFirst < kLast) return WithPoints<2 * kFirst, kLast>(points, launch);
  return cudaErrorInvalidValue;
}

// Calls launch(rows, columns), integral constants, for a size as FftRows() cuts it.
template <int kSize = kMinBlockPoints* kMinBlockPoints, typename Launch>
cudaError_t WithSizes(const FftArgs& args, const Launch& launch) {
  constexpr int kRows = FftRows(kSize);
  if (static_cast<int64_t>(args.rows) * args.columns == kSize) {
    return launch(std::integral_constant<int, kRows>(),
                  std::integral_constant<int, kSize / kRows>());
  }
  if constexpr (kSize < kMaxFftPoints) return WithSizes<2 * kSize>(args, launch);
  return cudaErrorInvalidValue;
}

template <typename Kernel, typename... Args>
cudaError_t Start(Kernel kernel, dim3 grid, int threads, size_t bytes, cudaStream_t stream,
                  const Args&... args) {
  if (bytes > 48 * 1024) {
    const cudaError_t error = AllowSharedMemory(kernel);
    if (error != cudaSuccess) return error;
  }
  kernel<<<grid, threads, bytes, stream>>>(args...);
  return cudaGetLastError();
}

}  // namespace

int FftBlocks(const FftArgs& args) { return args.columns / BlockColumns(args.rows); }

int FftRowBlocks(const FftArgs& args) { return args.rows / BlockRows(args.columns); }

cudaError_t LaunchFftPasses(const FftArgs& args, const FftStep& step, cudaStream_t stream) {
  const dim3 grid(FftBlocks(args), step.units);
  cudaError_t error = WithSizes(args, [&](auto rows, auto columns) {
    using Block = ColumnBlock<rows>;
    return Start(ForwardColumns<rows, columns>, grid, Block::kThreads, Block::kSharedBytes, stream,
                 args, step);
  });
  if (error != cudaSuccess) return error;
  error = WithPoints<kMinBlockPoints, kMaxBlockPoints>(args.columns, [&](auto points) {
    constexpr int kPoints = points;
    constexpr int kRows = BlockRows(kPoints);
    return Start(Rows<kPoints>, dim3(args.rows / kRows, step.units),
                 kPoints / kThreadPoints * kRows,
                 kRows * BlockFft<kPoints, 1>::kSharedPoints * sizeof(float2), stream, args, step);
  });
  if (error != cudaSuccess) return error;
  if (step.denominators) {
    const dim3 noise_grid(step.channels, step.units);
    Noise<<<noise_grid, kNoiseThreads, 0, stream>>>(args, step, FftRowBlocks(args));
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
  }
  return WithSizes(args, [&](auto rows, auto columns) {
    using Block = ColumnBlock<rows>;
    return Start(BackwardColumns<rows, columns>, grid, Block::kThreads, Block::kSharedBytes, stream,
                 args, step);
  });
}

}  // namespace longwave::attention::cuda
