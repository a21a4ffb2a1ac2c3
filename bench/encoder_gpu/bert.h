#ifndef LONGWAVE_BENCH_ENCODER_GPU_BERT_H_
#define LONGWAVE_BENCH_ENCODER_GPU_BERT_H_

#include <cstdint>
#include <vector>

#include "model/encoder/encoder.h"

namespace longwave::bench {

// BERT-base: 12 post-norm layers of width 768 with 12 heads, inner width 3072; 64 positive random
// features, a relative bias that is constant from a distance of 128 on.
ModelConfig BertConfig();

// Random weights of BERT's scale, float32 on the CPU.
EncoderWeights RandomBertWeights(const ModelConfig& config, uint64_t seed);

// Random ids for sequences of these lengths, int32 on the CPU.
at::Tensor RandomIds(const ModelConfig& config, const std::vector<int64_t>& lengths);

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_ENCODER_GPU_BERT_H_
