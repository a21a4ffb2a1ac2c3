#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_HOPPER_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_HOPPER_CUH_

#include <cstdint>

// The instructions of sm_90a that the direct kernel is made of (PTX ISA 8.0, "Asynchronous
// Warpgroup Level Matrix Instructions", "mbarrier", "cp.async.bulk").
namespace longwave::attention::cuda::hopper {

__device__ inline uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// A barrier in shared memory that also counts the bytes of bulk copies.
struct Barrier {
  uint64_t word;

  __device__ void Init(uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(SharedAddress(&word)),
                 "r"(arrivals));
  }
  __device__ void Arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(SharedAddress(&word)) : "memory");
  }
  // Arrives and says how many bytes are still to come in this phase.
  __device__ void ArriveAndExpect(uint32_t bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(SharedAddress(&word)),
        "r"(bytes)
        : "memory");
  }
  // Waits for the end of the phase of this parity (the first phase is 0).
  __device__ void Wait(uint32_t parity) {
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "RETRY:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra RETRY;\n"
        "}" ::"r"(SharedAddress(&word)),
        "r"(parity)
        : "memory");
  }
};

// Makes Init() visible to the copy engine.
__device__ inline void FenceBarrierInit() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Copies contiguous bytes (a multiple of 16, both ends aligned) from device to shared memory.
__device__ inline void BulkCopy(void* to, const void* from, uint32_t bytes, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(SharedAddress(to)),
      "l"(from), "r"(bytes), "r"(SharedAddress(&barrier->word))
      : "memory");
}

// Descriptor of a matrix in shared memory whose rows are 128 bytes with swizzled 16-byte chunks,
// eight rows every 1024 bytes. As wgmma's B: [n][k] with k contiguous, or (transposed) [k][n].
__device__ inline uint64_t Descriptor(uint32_t shared_address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kEightRows = uint64_t{1024 >> 4} << 32;
  constexpr uint64_t kUnusedOffset = uint64_t{1} << 16;
  return kSwizzle128 | kEightRows | kUnusedOffset | ((shared_address & 0x3ffff) >> 4);
}

// Before the first wgmma, and after registers that one reads or writes were touched.
__device__ inline void WgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void WgmmaCommit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending of the groups committed are unfinished.
template <int kPending>
__device__ inline void WgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Lets wgmma see what this thread has written to shared memory, or copied there by cp.async.
__device__ inline void FenceShared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Keeps the compiler from moving the use of accumulators across this point.
template <int kCount>
__device__ inline void Hold(float (&x)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(x[i])::"memory");
}

template <int kRegisters>
__device__ inline void GrowRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void ShrinkRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Whether any of `threads` threads of the named barrier says so.
__device__ inline bool AnyOf(bool mine, int barrier, int threads) {
  int any;
  asm volatile(
      "{\n"
      ".reg .pred p, q;\n"
      "setp.ne.s32 p, %1, 0;\n"
      "barrier.cta.red.or.pred q, %2, %3, p;\n"
      "selp.s32 %0, 1, 0, q;\n"
      "}"
      : "=r"(any)
      : "r"(static_cast<int>(mine)), "r"(barrier), "r"(threads)
      : "memory");
  return any != 0;
}

#define LONGWAVE_F4(x, i) "+f"(x[i]), "+f"(x[(i) + 1]), "+f"(x[(i) + 2]), "+f"(x[(i) + 3])
#define LONGWAVE_F16(x, i) \
  LONGWAVE_F4(x, i), LONGWAVE_F4(x, (i) + 4), LONGWAVE_F4(x, (i) + 8), LONGWAVE_F4(x, (i) + 12)

#define LONGWAVE_D32                                       \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"

// d (+)= a b^T: a 64 x 16 and b n x 16, both with k contiguous in shared memory; n = 128 or 64.
// Thread t of the warpgroup holds of rows 16 (t / 32) + t % 32 / 4 + {0, 8} and columns 8 g + 2 (t
// % 4) + {0, 1} the numbers d[4 g + {0, 1}] and d[4 g + {2, 3}].
__device__ inline void WgmmaShared(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LONGWAVE_D32
      ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63},"
      " %64, %65, p, 1, 1, 0, 0;\n"
      "}"
      : LONGWAVE_F16(d, 0), LONGWAVE_F16(d, 16), LONGWAVE_F16(d, 32), LONGWAVE_F16(d, 48)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}
__device__ inline void WgmmaShared(float (&d)[32], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LONGWAVE_D32
      "}, %32, %33, p, 1, 1, 0, 0;\n"
      "}"
      : LONGWAVE_F16(d, 0), LONGWAVE_F16(d, 16)
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}

// d (+)= a b: a 64 x 16 in registers; b 16 x 64 with n contiguous in shared memory.
__device__ inline void WgmmaRegisters(float (&d)[32], const uint32_t (&a)[4], uint64_t b,
                                      bool accumulate) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LONGWAVE_D32
      "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;\n"
      "}"
      : LONGWAVE_F16(d, 0), LONGWAVE_F16(d, 16)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)));
}

#undef LONGWAVE_D32
#undef LONGWAVE_F16
#undef LONGWAVE_F4

}  // namespace longwave::attention::cuda::hopper

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_HOPPER_CUH_
