#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_SUMS_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_SUMS_CUH_

#include "model/attention/cuda/direct_fused_config.cuh"
#include "model/attention/cuda/exact_rows.cuh"

// The quadratic part's arithmetic for 64 rows and 64 keys, by a warpgroup.
namespace longwave::attention::cuda::fused {

// What a thread adds up for its rows: r and r + 8 for r = 16 (t / 32) + t % 32 / 4.
struct Sums {
  float values[kRegisters];
  float denominators[2];

  __device__ void Clear() {
#pragma unroll
    for (float& x : values) x = 0;
    denominators[0] = denominators[1] = 0;
  }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Begins scores = phi(q) phi(k)^T. Both from shared memory: registers are short, and ptxas 13.0 has
// given phi(q) and the products the same ones (docs/kernels.md).
__device__ inline void MultiplyKeys(const char* queries, const char* keys,
                                    float (&scores)[kRegisters]) {
  const uint64_t rows = hopper::Descriptor(hopper::SharedAddress(queries));
  const uint64_t columns = hopper::Descriptor(hopper::SharedAddress(keys));
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    hopper::WgmmaShared(scores, rows + 2 * s, columns + 2 * s, s > 0);
  }
}

// Begins sums += products v.
__device__ inline void MultiplyValues(const Fragments& products, const char* values, Sums& sums) {
  const uint64_t rows = hopper::Descriptor(hopper::SharedAddress(values));
#pragma unroll
  for (int s = 0; s < kTile / 16; ++s) {
    hopper::WgmmaRegisters(sums.values, products[s], rows + s * (16 * kPanelRowBytes / 16), true);
  }
}

// The scores times exp(b) as left operands, and their sums. weights: of this thread's first row and
// column.
__device__ inline void Weigh(const float (&scores)[kRegisters], const float* weights,
                             Fragments& products, float (&denominators)[2]) {
  float2 below = *reinterpret_cast<const float2*>(weights - 8);
#pragma unroll
  for (int g = 0; g < kTile / 8; ++g) {
    const float2 here = *reinterpret_cast<const float2*>(weights + 8 * g);
    const float a = scores[4 * g] * here.x, b = scores[4 * g + 1] * here.y;
    // Eight rows down is eight columns to the left.
    const float c = scores[4 * g + 2] * below.x, d = scores[4 * g + 3] * below.y;
    below = here;
    denominators[0] += a + b;
    denominators[1] += c + d;
    products[g / 2][g % 2 * 2] = PackBf16(a, b);
    products[g / 2][g % 2 * 2 + 1] = PackBf16(c, d);
  }
}

// Adds what the other warpgroups of the same rows have found to the first one's, in order: those
// are the next ones of the team. parts: kPartFloats for every warpgroup of a team.
constexpr int kPartFloats = (kRegisters + 2) * kGroupThreads;

__device__ inline void StorePart(const Sums& sums, float* part) {
  float* const mine = part + threadIdx.x % kGroupThreads;
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) mine[i * kGroupThreads] = sums.values[i];
#pragma unroll
  for (int i = 0; i < 2; ++i) mine[(kRegisters + i) * kGroupThreads] = sums.denominators[i];
}

__device__ inline void AddPart(Sums& sums, const float* part) {
  const float* const theirs = part + threadIdx.x % kGroupThreads;
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) sums.values[i] += theirs[i * kGroupThreads];
#pragma unroll
  for (int i = 0; i < 2; ++i) sums.denominators[i] += theirs[(kRegisters + i) * kGroupThreads];
}

// Divides and writes rows from `first` on, and marks those in doubt: whether this thread found any.
__device__ inline bool WriteRows(const DirectArgs& args, int head, const SequenceTile& item,
                                 int first, const Sums& sums, uint32_t (&doubtful)[kTile / 32]) {
  const AttentionArgs& a = args.attention;
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, lane = thread % 32;
  const bool odd = lane % 2 == 1;
  bool doubts = false;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float denominator = sums.denominators[half];
    denominator += __shfl_xor_sync(~0u, denominator, 1);
    denominator += __shfl_xor_sync(~0u, denominator, 2);
    const float inverse = __fdividef(1, denominator);
    const int local = thread / 32 * 16 + lane / 4 + 8 * half;
    const int row = first + local;
    const bool exists = row < item.length;
    bf16* const out = static_cast<bf16*>(a.out.data) +
                      static_cast<int64_t>(item.token_begin + row) * a.out.token_stride +
                      head * a.out.head_stride;
#pragma unroll
    for (int g = 0; g < kWidth / 8; g += 2) {
      // Neighbouring lanes swap, so that each writes 8 bytes and four of them a sector.
      const auto pair = [&](int at) {
        return PackBf16(sums.values[4 * at + 2 * half] * inverse,
                        sums.values[4 * at + 2 * half + 1] * inverse);
      };
      const uint32_t near = pair(g), far = pair(g + 1);
      const uint32_t other = __shfl_xor_sync(~0u, odd ? near : far, 1);
      const int column = (g + odd) * 8 + lane % 4 / 2 * 4;
      if (exists && column < a.value_dim) {
        *reinterpret_cast<uint2*>(out + column) =
            odd ? make_uint2(other, far) : make_uint2(near, other);
      }
    }
    if (lane % 4 == 0 && exists && Doubtful(denominator, args, item.length)) {
      atomicOr(&doubtful[local / 32], 1u << (local % 32));
      doubts = true;
    }
  }
  return doubts;
}

// Computes a row in float64. By a warpgroup. Not inlined: it would cost everyone registers.
__device__ __noinline__ void RepairRow(const AttentionArgs& a, int token, int head,
                                       double* scratch) {
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  exact::SolveRow<bf16>(a, {static_cast<int>(threadIdx.x) % kGroupThreads, group + 1}, token, head,
                        scratch);
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace longwave::attention::cuda::fused

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_SUMS_CUH_
