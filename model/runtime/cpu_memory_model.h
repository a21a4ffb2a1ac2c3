#ifndef LONGWAVE_MODEL_RUNTIME_CPU_MEMORY_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_CPU_MEMORY_MODEL_H_

#include <cstdint>

#include "model/checkpoint/model_config.h"
#include "model/runtime/model.h"

namespace longwave {

// What a run on the CPU takes, from the model's sizes. Immutable, thread-safe.
class CpuMemoryModel {
 public:
  // threads: of one forward pass.
  CpuMemoryModel(const ModelConfig& config, int threads);

  // As Model::EstimateMemory says.
  int64_t Bytes(const BatchShape& shape) const;

 private:
  const int64_t bytes_per_token_;
  const int64_t bytes_per_longest_token_;
  const int64_t piece_bytes_per_token_;
  const int64_t fixed_bytes_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_CPU_MEMORY_MODEL_H_
