#include <cmath>
#include <cstdint>
#include <type_traits>

#include "model/attention/cuda/device_types.cuh"
#include "model/attention/cuda/fft_args.h"
#include "model/attention/cuda/fft_channels.cuh"
#include "model/attention/cuda/per_device.h"

// phi(q), phi(k) and v of one sequence, transposed to channels.
namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTokens = 64;  // of a block
constexpr int kGroups = kThreads / kTokens;
constexpr int kUnroll = 4;  // features that a thread computes at a time
constexpr double kNormEps = 1e-12;

// Floats as integers of the same order.
__device__ int Ordered(float x) {
  const int bits = __float_as_int(x);
  return bits >= 0 ? bits : bits ^ 0x7fffffff;
}
__device__ float FromOrdered(int x) { return __int_as_float(x >= 0 ? x : x ^ 0x7fffffff); }

__host__ __device__ constexpr int64_t PaddedFeatures(int64_t features) {
  return (features + kUnroll - 1) / kUnroll * kUnroll;
}

enum class Side { kMaxima, kKeys, kQueries };

// Blocks (tokens, head). Maxima: of log phi(k) over the sequence, into key_maxima.
template <typename T, typename Real>
__global__ void __launch_bounds__(kThreads)
    Features(const __grid_constant__ FftArgs args, Side side) {
  extern __shared__ __align__(16) unsigned char storage[];
  const AttentionArgs& a = args.attention;
  const int dim = a.dim, padded = static_cast<int>(PaddedFeatures(a.features));
  auto* const w = reinterpret_cast<Real*>(storage);    // [dim][padded]
  Real* const x = w + dim * padded;                    // [kTokens][dim + 1]
  Real* const half_squares = x + kTokens * (dim + 1);  // [kTokens]
  Real* const row_maxima = half_squares + kThreads;    // [kGroups][kTokens]
  const Span span = SpanOf(a.sequences, args.sequence);
  const int local_head = static_cast<int>(blockIdx.y), head = a.head_begin + local_head;
  const int begin = static_cast<int>(blockIdx.x) * kTokens;
  const int rows = min(kTokens, span.length() - begin);
  const int token = static_cast<int>(threadIdx.x) % kTokens;
  const int group = static_cast<int>(threadIdx.x) / kTokens;
  const int64_t channel = static_cast<int64_t>(local_head) * args.features;
  float* const out =
      (side == Side::kQueries ? args.phi_q : args.phi_k) + channel * args.capacity + begin + token;
  if (rows <= 0) {
    if (side == Side::kMaxima || begin + token >= args.capacity) return;
    for (int f = group; f < args.features; f += kGroups) {
      out[static_cast<int64_t>(f) * args.capacity] = 0;
    }
    return;
  }

  for (int i = threadIdx.x; i < dim * padded; i += kThreads) {
    const int f = i / dim, e = i % dim;
    w[e * padded + f] =
        f < a.features
            ? static_cast<Real>(
                  a.projection[head * a.projection_head_stride + f * a.projection_row_stride + e])
            : Real{0};
  }
  const TokenView& view = side == Side::kQueries ? a.q : a.k;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = static_cast<int>(threadIdx.x) / 32; row < kTokens; row += kThreads / 32) {
    const bool valid = row < rows;
    const T* const from =
        static_cast<const T*>(view.data) +
        static_cast<int64_t>(span.begin + begin + (valid ? row : 0)) * view.token_stride +
        head * view.head_stride;
    double square = 0;
    for (int e = lane; e < dim; e += 32) {
      const double y = valid ? ToDouble(from[e]) : 0;
      square += y * y;
    }
    for (int other = 16; other > 0; other /= 2) square += __shfl_xor_sync(~0U, square, other);
    double factor = a.scale;
    if (a.normalize) factor /= fmax(sqrt(square), kNormEps);
    for (int e = lane; e < dim; e += 32) {
      x[row * (dim + 1) + e] = valid ? static_cast<Real>(ToDouble(from[e]) * factor) : Real{0};
    }
    if (lane == 0) half_squares[row] = static_cast<Real>(square * factor * factor / 2);
  }
  __syncthreads();

  const int32_t* const maxima = args.key_maxima == nullptr ? nullptr : args.key_maxima + channel;
  const Real shift = side == Side::kQueries ? Real{0} : half_squares[token];
  // Calls use(f, log phi) for the thread's features; a query's includes the keys' maxima.
  const auto each = [&](const auto& use) {
    for (int f = group * kUnroll; f < padded; f += kGroups * kUnroll) {
      Real sums[kUnroll] = {};
      for (int e = 0; e < dim; ++e) {
        const Real y = x[token * (dim + 1) + e];
#pragma unroll
        for (int u = 0; u < kUnroll; ++u) sums[u] += y * w[e * padded + f + u];
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (f + u >= a.features) break;
        Real log = sums[u] - shift;
        if (maxima != nullptr && side != Side::kMaxima) {
          const Real largest = FromOrdered(maxima[f + u]);
          log += side == Side::kQueries ? largest : -largest;
        }
        use(f + u, log);
      }
    }
  };
  const bool valid = token < rows;
  if (side == Side::kMaxima) {
    each([&](int f, Real log) {
      float largest = valid ? static_cast<float>(log) : -INFINITY;
      for (int other = 16; other > 0; other /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(~0U, largest, other));
      }
      if (lane == 0) atomicMax(args.key_maxima + channel + f, Ordered(largest));
    });
    return;
  }
  Real row_maximum = 0;
  if (maxima != nullptr && side == Side::kQueries) {
    Real largest = -INFINITY;
    each([&](int, Real log) { largest = fmax(largest, log); });
    row_maxima[group * kTokens + token] = largest;
    __syncthreads();
    for (int g = 0; g < kGroups; ++g) largest = fmax(largest, row_maxima[g * kTokens + token]);
    row_maximum = largest;
  }
  if (begin + token >= args.capacity) return;
  each([&](int f, Real log) {
    float phi = valid ? static_cast<float>(exp(log - row_maximum)) : 0.0F;
    if (maxima == nullptr && !(fabs(log) <= static_cast<Real>(2 * kFftSmallExponent))) {
      phi = __int_as_float(0x7fffffff);  // NaN
    }
    out[static_cast<int64_t>(f) * args.capacity] = phi;
  });
  if (group == 0 && args.features > a.features) {
    out[static_cast<int64_t>(a.features) * args.capacity] = 0;
  }
}

// Blocks (tokens, head): max|v| of every channel.
constexpr int kLargestTokens = 512;

template <typename T>
__global__ void __launch_bounds__(kThreads) Largest(const __grid_constant__ FftArgs args) {
  const AttentionArgs& a = args.attention;
  const Span span = SpanOf(a.sequences, args.sequence);
  const int local_head = static_cast<int>(blockIdx.y), head = a.head_begin + local_head;
  const int begin = static_cast<int>(blockIdx.x) * kLargestTokens;
  const int end = min(min(begin + kLargestTokens, span.length()), args.capacity);
  for (int e = static_cast<int>(threadIdx.x) % 32; e < a.value_dim; e += 32) {
    float largest = 0;
    for (int i = begin + static_cast<int>(threadIdx.x) / 32; i < end; i += kThreads / 32) {
      const T* const v = static_cast<const T*>(a.v.data) +
                         static_cast<int64_t>(span.begin + i) * a.v.token_stride +
                         head * a.v.head_stride;
      largest = fmaxf(largest, fabsf(static_cast<float>(ToDouble(v[e]))));
    }
    atomicMax(args.largest + local_head * 2 * args.pairs + e, __float_as_int(largest));
  }
}

// Blocks (tokens, head).
template <typename T>
__global__ void __launch_bounds__(kThreads) Values(const __grid_constant__ FftArgs args) {
  __shared__ float block[kTokens][65];
  const AttentionArgs& a = args.attention;
  const Span span = SpanOf(a.sequences, args.sequence);
  const int local_head = static_cast<int>(blockIdx.y), head = a.head_begin + local_head;
  const int begin = static_cast<int>(blockIdx.x) * kTokens;
  const int token = static_cast<int>(threadIdx.x) % kTokens;
  for (int first = 0; first < 2 * args.pairs; first += 64) {
    __syncthreads();
    const int column = static_cast<int>(threadIdx.x) % 64, e = first + column;
    float inverse = 0;
    if (e < a.value_dim) {
      const float scale = ChannelScale(args, local_head, e);
      inverse = scale == 0 ? 0 : 1 / scale;
    }
    for (int i = static_cast<int>(threadIdx.x) / 64; i < kTokens; i += kThreads / 64) {
      float v = 0;
      if (e < a.value_dim && begin + i < span.length()) {
        v = static_cast<float>(ToDouble(static_cast<const T*>(
            a.v.data)[static_cast<int64_t>(span.begin + begin + i) * a.v.token_stride +
                      head * a.v.head_stride + e]));
      }
      block[i][column] = v * inverse;
    }
    __syncthreads();
    if (begin + token >= args.capacity) continue;
    for (int p = static_cast<int>(threadIdx.x) / kTokens; p < 32; p += kGroups) {
      const int pair = first / 2 + p;
      if (pair >= args.pairs) break;
      args.values[(static_cast<int64_t>(local_head) * args.pairs + pair) * args.capacity + begin +
                  token] = {block[token][2 * p], block[token][2 * p + 1]};
    }
  }
}

template <typename T, typename Real>
cudaError_t StartFeatures(const FftArgs& args, Side side, cudaStream_t stream) {
  const auto bytes = static_cast<size_t>(
      FftOperandsBytes(args.attention.dim, args.attention.features, std::is_same_v<Real, double>));
  if (bytes > 48 * 1024) {
    const cudaError_t error = AllowSharedMemory(Features<T, Real>);
    if (error != cudaSuccess) return error;
  }
  const dim3 grid((args.capacity + kTokens - 1) / kTokens, args.heads);
  Features<T, Real><<<grid, kThreads, bytes, stream>>>(args, side);
  return cudaGetLastError();
}

template <typename T, typename Real>
cudaError_t StartAll(const FftArgs& args, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  if (args.key_maxima != nullptr) {
    // Less than any number.
    error =
        cudaMemsetAsync(args.key_maxima, 0x80,
                        sizeof(int32_t) * args.heads * static_cast<size_t>(args.features), stream);
    if (error != cudaSuccess) return error;
    error = StartFeatures<T, Real>(args, Side::kMaxima, stream);
    if (error != cudaSuccess) return error;
  }
  for (const Side side : {Side::kKeys, Side::kQueries}) {
    if ((error = StartFeatures<T, Real>(args, side, stream)) != cudaSuccess) return error;
  }
  error = cudaMemsetAsync(
      args.largest, 0, sizeof(int32_t) * args.heads * 2 * static_cast<size_t>(args.pairs), stream);
  if (error != cudaSuccess) return error;
  Largest<T><<<dim3((args.capacity + kLargestTokens - 1) / kLargestTokens, args.heads), kThreads, 0,
               stream>>>(args);
  if ((error = cudaGetLastError()) != cudaSuccess) return error;
  Values<T>
      <<<dim3((args.capacity + kTokens - 1) / kTokens, args.heads), kThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace

int64_t FftOperandsBytes(int64_t dim, int64_t features, bool wide) {
  const auto real = static_cast<int64_t>(wide ? sizeof(double) : sizeof(float));
  return real * (dim * PaddedFeatures(features) + kTokens * (dim + 1) + 2 * kThreads);
}

cudaError_t LaunchFftOperands(const FftArgs& args, bool wide, cudaStream_t stream) {
  return Dispatch(args.attention.dtype, [&](auto element) {
    using T = decltype(element);
    return wide ? StartAll<T, double>(args, stream) : StartAll<T, float>(args, stream);
  });
}

}  // namespace longwave::attention::cuda
