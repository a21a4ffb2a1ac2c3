#ifndef LONGWAVE_BENCH_ENCODER_GPU_STEPS_H_
#define LONGWAVE_BENCH_ENCODER_GPU_STEPS_H_

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "model/encoder/encoder.h"

namespace longwave::bench {

// What a layer consists of, each as the encoder runs it and, where that does more than a product,
// as the bare product, too. Every function runs its step for all layers once, on a batch of its
// own.
std::vector<std::pair<std::string, std::function<void()>>> LayerSteps(
    const Encoder& encoder, const PackedSequences& sequences, int64_t tokens);

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_ENCODER_GPU_STEPS_H_
