#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_FFT_BLOCK_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_FFT_BLOCK_CUH_

#include <cuda_runtime.h>

#include "model/attention/cuda/fft_block.h"

// Complex float32 transforms of 32 to 4096 points by the threads of a block, 16 points a thread:
// Stockham's algorithm in steps of radix 16 (then 2 to 16), shared memory between them.
namespace longwave::attention::cuda {

// Points that a thread holds: point t + x * (size / 16) of a transform is v[x] of its thread t,
// before and after.
constexpr int kThreadPoints = 16;

__device__ inline float2 operator+(float2 a, float2 b) { return {a.x + b.x, a.y + b.y}; }
__device__ inline float2 operator-(float2 a, float2 b) { return {a.x - b.x, a.y - b.y}; }
__device__ inline float2 operator*(float2 a, float2 b) {
  return {a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x};
}

// A direction: forward has exp(-2 pi i / N).
template <bool kInverse>
struct Direction {
  // a root of unity, given for the forward direction
  static __device__ float2 Root(float2 w) { return {w.x, kInverse ? -w.y : w.y}; }
  // times exp(-+ pi i / 2)
  static __device__ float2 Quarter(float2 a) {
    return kInverse ? float2{-a.y, a.x} : float2{a.y, -a.x};
  }
};

template <bool kInverse>
__device__ inline void Fft2(float2& a, float2& b) {
  const float2 d = a - b;
  a = a + b;
  b = d;
}

template <bool kInverse>
__device__ inline void Fft4(float2& a, float2& b, float2& c, float2& d) {
  const float2 p = a + c, q = a - c, r = b + d, s = Direction<kInverse>::Quarter(b - d);
  a = p + r;
  b = q + s;
  c = p - r;
  d = q - s;
}

// exp(-2 pi i k / 16), k = 1, 2, 3, 6, 9.
__device__ inline float2 Sixteenth(int k) {
  constexpr float kCos1 = 0.92387953251128674f, kSin1 = 0.38268343236508977f;
  constexpr float kHalf = 0.70710678118654752f;
  switch (k) {
    case 1:
      return {kCos1, -kSin1};
    case 2:
      return {kHalf, -kHalf};
    case 3:
      return {kSin1, -kCos1};
    case 6:
      return {-kHalf, -kHalf};
    case 9:
      return {-kCos1, kSin1};
    default:
      return {1, 0};
  }
}

// In place, in natural order. kSize: 2, 4, 8, 16; v[0], v[kStride], ...
template <bool kInverse, int kSize, int kStride>
__device__ inline void SmallFft(float2* v) {
  if constexpr (kSize == 2) {
    Fft2<kInverse>(v[0], v[kStride]);
  } else if constexpr (kSize == 4) {
    Fft4<kInverse>(v[0], v[kStride], v[2 * kStride], v[3 * kStride]);
  } else {
    // kSize = 4 kInner: point kInner a + b, frequency c + 4 d.
    constexpr int kInner = kSize / 4;
#pragma unroll
    for (int b = 0; b < kInner; ++b) {
      Fft4<kInverse>(v[b * kStride], v[(kInner + b) * kStride], v[(2 * kInner + b) * kStride],
                     v[(3 * kInner + b) * kStride]);
    }
    float2 y[kSize];
#pragma unroll
    for (int b = 0; b < kInner; ++b) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int k = b * c * (16 / kSize);
        const float2 x = v[(kInner * c + b) * kStride];
        y[4 * b + c] = k == 0   ? x
                       : k == 4 ? Direction<kInverse>::Quarter(x)
                                : x * Direction<kInverse>::Root(Sixteenth(k));
      }
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      if constexpr (kInner == 2) {
        Fft2<kInverse>(y[c], y[4 + c]);
      } else {
        Fft4<kInverse>(y[c], y[4 + c], y[8 + c], y[12 + c]);
      }
#pragma unroll
      for (int d = 0; d < kInner; ++d) v[(c + 4 * d) * kStride] = y[4 * d + c];
    }
  }
}

// v[r * kStride] *= w^r, r < kSize, where w = exp(-+2 pi i step / kMaxBlockPoints) comes from the
// table.
template <bool kInverse, int kSize, int kStride>
__device__ inline void Twiddle(float2* v, const float2* roots, int step) {
  // Of products of at most four entries of the table: their errors stay at one rounding each.
  float2 w[kSize];
#pragma unroll
  for (int r = 1; r < kSize; r *= 2) w[r] = Direction<kInverse>::Root(__ldg(roots + r * step));
#pragma unroll
  for (int r = 3; r < kSize; ++r) {
    const int high = r >= 8 ? 8 : r >= 4 ? 4 : 2;
    if (r != high) w[r] = w[high] * w[r - high];
  }
#pragma unroll
  for (int r = 1; r < kSize; ++r) v[r * kStride] = v[r * kStride] * w[r];
}

// kPoints: a power of two, 32 to 4096. kColumns transforms lie side by side in the block; thread t
// of a transform's kPoints / 16, column c. Every thread of the block must call it.
template <int kPoints, int kColumns>
struct BlockFft {
  static constexpr int kThreads = kPoints / kThreadPoints;
  static constexpr int kSecond = kThreads < 16 ? kThreads : 16;  // radix of the second step
  static constexpr int kThird = kThreads / kSecond;
  // Gaps that keep threads apart in the banks.
  static constexpr int kSharedPoints = (kPoints + kPoints / 16) * kColumns;

  template <bool kInverse>
  static __device__ void Run(float2 (&v)[kThreadPoints], int t, int c, float2* shared,
                             const float2* roots) {
    SmallFft<kInverse, 16, 1>(v);
    Exchange(v, t, c, shared, [t](int r) { return 16 * t + r; });
    Step<kInverse, kSecond, 16>(v, t, roots);
    if constexpr (kThird > 1) {
      Exchange(v, t, c, shared, [t](int r) { return t / 16 * 256 + t % 16 + 16 * r; });
      Step<kInverse, kThird, 256>(v, t, roots);
    }
  }

 private:
  template <typename Place>
  static __device__ void Exchange(float2 (&v)[kThreadPoints], int t, int c, float2* shared,
                                  const Place& place) {
    const auto at = [c, shared](int point) -> float2& {
      return shared[(point + point / 16) * kColumns + c];
    };
    __syncthreads();
#pragma unroll
    for (int r = 0; r < kThreadPoints; ++r) at(place(r)) = v[r];
    __syncthreads();
#pragma unroll
    for (int x = 0; x < kThreadPoints; ++x) v[x] = at(t + x * kThreads);
  }

  // Radix kSize after steps whose radices multiply to kDone.
  template <bool kInverse, int kSize, int kDone>
  static __device__ void Step(float2 (&v)[kThreadPoints], int t, const float2* roots) {
    constexpr int kStride = kThreadPoints / kSize;
#pragma unroll
    for (int u = 0; u < kStride; ++u) {
      const int index = (t + u * kThreads) % kDone;
      Twiddle<kInverse, kSize, kStride>(v + u, roots, index * (kMaxBlockPoints / (kDone * kSize)));
      SmallFft<kInverse, kSize, kStride>(v + u);
    }
  }
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_FFT_BLOCK_CUH_
