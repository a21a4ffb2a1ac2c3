#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_HOPPER_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_HOPPER_CUH_

#include <cuda.h>

#include "model/attention/cuda/direct_hopper.cuh"
#include "model/attention/cuda/early_launch.cuh"
#include "model/attention/cuda/hopper_tiles.cuh"
#include "model/attention/cuda/per_device.h"
#include "model/attention/cuda/structured/tiles.cuh"
#include "model/attention/cuda/token_maps.h"

// What the kernels for sm_90a share: products of a warpgroup, copies by the tensor memory
// accelerator, and the share of the work that a thread block walks through.
namespace longwave::attention::cuda {

inline constexpr int kGroupRows = 64;            // of a warpgroup's products
inline constexpr int kRegisters = kMmaSize / 2;  // of a 64 x 64 product, by thread
inline constexpr int kRowBytes = kMmaSize * 2;   // of a tile
inline constexpr int kTileBytes = kBlock * kRowBytes;
inline constexpr int kStateBytes = kMmaSize * kRowBytes;  // of a state without its totals
inline constexpr float kLog2E = 1.4426950408889634F;

// Lets a kernel for sm_90a be launched with so much shared memory, and counts the device's
// multiprocessors. NotSupported where the library was not compiled for the device.
template <typename... Parameters>
cudaError_t PrepareHopper(void (*kernel)(Parameters...), int shared_bytes, int* multiprocessors) {
  static OncePerDevice compiled;  // all of the library is, or nothing
  if (!compiled.Get([kernel] { return CompiledFor(kernel, 90, 90); })) return cudaErrorNotSupported;
  cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) return error;
  int device = 0;
  if ((error = cudaGetDevice(&device)) != cudaSuccess) return error;
  return cudaDeviceGetAttribute(multiprocessors, cudaDevAttrMultiProcessorCount, device);
}

// Thread blocks for every head, so that all multiprocessors have about as much to do. start: what
// it costs to begin, in blocks of tokens.
int PartsOf(int heads, int slots, int multiprocessors, double start);

// The slots of one head that a thread block walks through. The heads of a token lie side by side
// in memory: thread blocks of neighbouring heads are at the same tokens.
struct Walk {
  int local_head;
  int head;
  int begin;
  int end;

  __device__ explicit Walk(const StructuredArgs& args) {
    const int heads = args.base.head_end - args.base.head_begin;
    const int parts = static_cast<int>(gridDim.x) / heads;
    const int part = static_cast<int>(blockIdx.x) / heads;
    local_head = static_cast<int>(blockIdx.x) % heads;
    head = args.base.head_begin + local_head;
    begin = static_cast<int>(static_cast<int64_t>(args.slots) * part / parts);
    end = static_cast<int>(static_cast<int64_t>(args.slots) * (part + 1) / parts);
  }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#define LONGWAVE_F4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define LONGWAVE_D32                                                                \
  LONGWAVE_F4(0), LONGWAVE_F4(4), LONGWAVE_F4(8), LONGWAVE_F4(12), LONGWAVE_F4(16), \
      LONGWAVE_F4(20), LONGWAVE_F4(24), LONGWAVE_F4(28)
#define LONGWAVE_D32_NAMES                                  \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"

// d (+)= a b: a 64 x 16 in registers, b 64 x 16 with k contiguous (kColumns false) or 16 x 64 with
// n contiguous. Thread t of the warpgroup holds of rows 16 (t / 32) + t % 32 / 4 + {0, 8} and
// columns 8 g + 2 (t % 4) + {0, 1} the numbers d[4 g + {0, 1}] and d[4 g + {2, 3}].
template <bool kColumns>
__device__ inline void Multiply(float (&d)[kRegisters], const uint32_t (&a)[4], uint64_t b,
                                bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " LONGWAVE_D32_NAMES
      ", {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n"
      "}"
      : LONGWAVE_D32
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),
        "n"(kColumns ? 1 : 0));
}

// d (+)= a^T b: a 16 x 64 and b 16 x 64 in shared memory.
__device__ inline void MultiplyTransposed(float (&d)[kRegisters], uint64_t a, uint64_t b,
                                          bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " LONGWAVE_D32_NAMES
      ", %32, %33, p, 1, 1, 1, 1;\n"
      "}"
      : LONGWAVE_D32
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}

// d += a b with b 16 x 72: the last eight columns lie in a tile of their own, whose distance is in
// the descriptor (WideDescriptor). Of them a thread holds d[32] to d[35].
__device__ inline void MultiplyWide(float (&d)[kRegisters + 4], const uint32_t (&a)[4],
                                    uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n72k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35}"
      ", {%36,%37,%38,%39}, %40, 1, 1, 1, 1;"
      : LONGWAVE_D32, LONGWAVE_F4(32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// The descriptor of the first 16 rows of a tile, and of `more`, which lies behind it; and what to
// add to go on to the next 16 rows of the tile but not of `more`.
__device__ inline uint64_t WideDescriptor(uint32_t tile, uint32_t more) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kEightRows | uint64_t{(more - tile) >> 4} << 16 | (tile & 0x3ffff) >> 4;
}
inline constexpr uint64_t kWideStep = (16 * kRowBytes >> 4) - (uint64_t{16 * kRowBytes >> 4} << 16);

#undef LONGWAVE_D32_NAMES
#undef LONGWAVE_D32
#undef LONGWAVE_F4

// d += a b^T with b 8 x 16 as two matrices of 8 x 8 (ColumnDescriptor): sums of rows, weighted.
__device__ inline void MultiplyColumn(float (&d)[4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, {%4,%5,%6,%7}, %8, 1, 1, "
      "1, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// The same with a^T, a 16 x 64 in shared memory.
__device__ inline void MultiplyColumnTransposed(float (&d)[4], uint64_t a, uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, 1, 1, 1, 1, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "l"(a), "l"(b));
}

// Descriptor of n x k elements with k contiguous in matrices of 8 x 8, which lie one after the
// other along k.
__device__ inline uint64_t ColumnDescriptor(const void* matrices) {
  constexpr uint64_t kNext = 128 >> 4;
  return kNext << 32 | kNext << 16 | (hopper::SharedAddress(matrices) & 0x3ffff) >> 4;
}

// Lets wgmma and bulk copies see what this thread has written to shared memory.
__device__ inline void FenceShared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// A barrier among the threads of a warpgroup.
__device__ inline void SyncGroup(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}

// Begins to copy contiguous bytes from shared to device memory, as one group of the thread.
__device__ inline void StoreBulk(void* to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(hopper::SharedAddress(from)), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until the thread's bulk copies have read shared memory.
__device__ inline void WaitForReads() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
// Until they are done.
__device__ inline void WaitForStores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// y = factor x for a token with this |x|^2, as TokenFactor to a few units in the last place.
__device__ inline float FastTokenFactor(const AttentionArgs& args, float square) {
  if (!(square < 1e37F)) return __int_as_float(0x7fffffff);
  const float scale = static_cast<float>(args.scale);
  return args.normalize ? scale * fminf(rsqrtf(square), 1e12F) : scale;
}

// w_f . x of the warpgroup's 64 tokens, of which this warp's 16 begin at `rows`, a row of a tile;
// and |x|^2 of rows lane / 4 and lane / 4 + 8. Once `loaded` is called, the tile may go.
template <typename Loaded>
__device__ inline void LogFeatures64(const bf16* tile, int first, uint64_t high, uint64_t low,
                                     float (&log)[kRegisters], float (&square)[2],
                                     const Loaded& loaded) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t x[kMmaSize / 16][4];
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
    LoadTiles(x[k], tile + PieceOf(first + lane % 16, 2 * k + lane / 16));
  }
  loaded();
  hopper::WgmmaFence();
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
    // 16 elements are 32 bytes of a row; descriptors count in 16.
    Multiply<false>(log, x[k], high + 2 * k, k > 0);
    Multiply<false>(log, x[k], low + 2 * k, true);
  }
  hopper::WgmmaCommit();
  square[0] = square[1] = 0;
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float2 pair = UnpackBf16(x[k][r]);
      square[r % 2] += pair.x * pair.x + pair.y * pair.y;
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    square[half] += __shfl_xor_sync(~0U, square[half], 1);
    square[half] += __shfl_xor_sync(~0U, square[half], 2);
  }
  hopper::WgmmaWait<0>();
  hopper::Hold(log);
}

using Fragments = uint32_t[kMmaSize / 16][4];  // 64 rows of phi, by thread

// phi of 64 queries, each row divided by its largest, as left operands; arguments as those of
// LogFeatures64. Features beyond the last one are not 0: they meet zeros.
template <typename Loaded>
__device__ inline void QueryFeatures64(const AttentionArgs& args, const bf16* queries, int first,
                                       uint64_t high, uint64_t low, Fragments& phi,
                                       const Loaded& loaded) {
  float log[kRegisters], square[2];
  LogFeatures64(queries, first, high, low, log, square, loaded);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float factor = FastTokenFactor(args, square[half]) * kLog2E;
    float largest = -INFINITY;
#pragma unroll
    for (int f = 0; f < kPieces; ++f) {
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float& x = log[4 * f + 2 * half + c];
        x *= factor;
        largest = fmaxf(largest, x);
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(~0U, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0U, largest, 2));
#pragma unroll
    for (int f = 0; f < kPieces; ++f) {
      phi[f / 2][f % 2 * 2 + half] = PackBf16(Exp2(log[4 * f + 2 * half] - largest),
                                              Exp2(log[4 * f + 2 * half + 1] - largest));
    }
  }
}

// Divides, marks rows in doubt and writes this thread's part of the rows `row` and `row` + 8.
template <int kSums>
__device__ inline void WriteRows(const StructuredArgs& args, const BlockPosition& position,
                                 int head, bool too_long, int row, const float (&sums)[kSums],
                                 const float (&denominators)[2]) {
  const AttentionArgs& base = args.base;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool odd = lane % 2 == 1;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float denominator = denominators[half];
    const float inverse = __fdividef(1, denominator);
    const int r = row + 8 * half;
    const bool exists = r < position.rows;
    bf16* const out = static_cast<bf16*>(base.out.data) +
                      static_cast<int64_t>(position.first + r) * base.out.token_stride +
                      head * base.out.head_stride;
#pragma unroll
    for (int e = 0; e < kPieces; e += 2) {
      // Neighbouring lanes swap, so that each writes 8 bytes and four of them a sector.
      const auto pair = [&](int piece) {
        return PackBf16(sums[4 * piece + 2 * half] * inverse,
                        sums[4 * piece + 2 * half + 1] * inverse);
      };
      const uint32_t first = pair(e), second = pair(e + 1);
      const uint32_t other = __shfl_xor_sync(~0U, odd ? first : second, 1);
      const int column = (e + odd) * 8 + lane % 4 / 2 * 4;
      if (exists && column < base.value_dim) {
        __stcs(reinterpret_cast<uint2*>(out + column),
               odd ? make_uint2(other, second) : make_uint2(first, other));
      }
    }
    if (lane % 4 == 0 && exists &&
        (too_long || !Trusted(denominator, position.length, base.features))) {
      MarkDoubt(args, position.first + r, head);
    }
  }
}

// Whether a group has anything to give to a block.
__device__ inline bool Reaches(const HeadPlan& plan, const StateGroup& group,
                               const BlockPosition& position) {
  const int b = position.index;
  return (group.left_nearest > 0 && b >= group.left_nearest) ||
         (group.right_nearest > 0 && b + group.right_nearest < position.blocks) ||
         (!group.weighted && plan.window_end > plan.window_begin);
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_HOPPER_CUH_
