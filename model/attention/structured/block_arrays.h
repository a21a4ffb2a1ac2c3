#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_BLOCK_ARRAYS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_BLOCK_ARRAYS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/attention/structured/aligned.h"
#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/grid_structure.h"

namespace longwave::attention {

// The tiles of one head's blocks, in memory that is not owned: 64-byte aligned, FloatsPerBlock for
// each block.
class BlockArrays {
 public:
  BlockArrays(const ChunkShape& shape, int64_t blocks, float* base) : shape_(shape) {
    const auto take = [&base, blocks](std::size_t floats) {
      float* const begin = base;
      base += floats * static_cast<std::size_t>(blocks);
      return begin;
    };
    phi_k_ = take(features());
    phi_q_ = take(features());
    values_ = take(values());
    out_ = take(values());
    den_ = take(kChunk);
  }

  static std::size_t FloatsPerBlock(const ChunkShape& shape) {
    return static_cast<std::size_t>(kChunk) * (2 * shape.features_pad + 2 * shape.value_pad + 1);
  }

  float* PhiK(int64_t block) const {
    return phi_k_ + block * features();
  }  // [features_pad][kChunk]
  float* PhiQ(int64_t block) const {
    return phi_q_ + block * features();
  }  // [kChunk][features_pad]
  float* Values(int64_t block) const { return values_ + block * values(); }  // [kChunk][value_pad]
  float* Out(int64_t block) const { return out_ + block * values(); }        // sums, the same shape
  float* Den(int64_t block) const { return den_ + block * kChunk; }          // sums, [kChunk]

 private:
  std::size_t features() const { return static_cast<std::size_t>(shape_.features_pad) * kChunk; }
  std::size_t values() const { return static_cast<std::size_t>(shape_.value_pad) * kChunk; }

  const ChunkShape& shape_;
  float *phi_k_, *phi_q_, *values_, *out_, *den_;
};

// What exp(-rate |distance|) beyond a box is made of, by place in a block along the side's axis:
// keys[j] queries[i] decay^n, n + 1 blocks beyond the box's last. All are at most 1. Empty: 1.
struct SideFactors {
  std::vector<float> keys;     // [kChunk]
  std::vector<float> queries;  // [kChunk]
  float decay = 1.0F;          // from block to block

  SideFactors(const GridStructure& structure, int axis, int side);
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_BLOCK_ARRAYS_H_
