#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_HOPPER_TILES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_HOPPER_TILES_CUH_

#include <cuda.h>

#include <cstdint>

#include "model/attention/cuda/direct_hopper.cuh"

// Tiles of 16-bit elements in shared memory, by instructions that sm_90 brought (PTX ISA 8.0,
// "stmatrix", "cp.async.bulk.tensor").
namespace longwave::attention::cuda {

// Writes four 8x8 tiles of 16-bit elements; lane l gives the address of row l % 8 of tile l / 8.
__device__ inline void StoreTiles(void* row, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};\n" ::"r"(
                   hopper::SharedAddress(row)),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// Begins to copy the rows of a head from `token` on to a tile. By one thread.
__device__ inline void LoadTokens(void* tile, const CUtensorMap* map, int head, int token,
                                  hopper::Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4}], [%5];" ::"r"(hopper::SharedAddress(tile)),
      "l"(map), "r"(0), "r"(head), "r"(token), "r"(hopper::SharedAddress(&barrier->word))
      : "memory");
}

__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_HOPPER_TILES_CUH_
