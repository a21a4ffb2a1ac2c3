// Written by bench/calibrate: do not edit.
#ifndef LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_
#define LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_

#include "model/attention/cost_constants.h"

namespace longwave::attention {

// Where each part was measured.
inline constexpr char kCpuCostsFrom[] = "AMD EPYC, 2 threads, 2026-11-24";
inline constexpr char kCudaCostsFrom[] = "NVIDIA H100 80GB HBM3, 2026-11-24";

inline constexpr CostConstants kCostTable = {
    .direct_ps_per_flop = 14.2,
    .direct_ns_per_row = 547,
    .chunk_ps_per_flop = 11.3,
    .chunk_ns_per_feature = 0.338,
    .chunk_ps_per_byte = 591,
    .line_ps_per_flop = 22,
    .fft_ps_per_flop = 61.6,
    .fft_us_per_head = 969,
    .cuda_direct_us_per_call = 10.1,
    .cuda_direct_ns_per_token = 0.616,
    .cuda_direct_ps_per_flop = 0.00136,
    .cuda_direct_mma_ps_per_flop = 0.0246,
    .cuda_fused_us_per_tile = 1.5,
    .cuda_structured_us_per_call = 11.4,
    .cuda_structured_us_per_sequence = 0.011,
    .cuda_structured_ps_per_flop = 0.00236,
    .cuda_structured_ps_per_state = 0.039,
    .cuda_structured_ps_per_decayed_state = 0.0618,
    .cuda_structured_wide_ps_per_flop = 0.00296,
    .cuda_structured_ps_per_mix = 0.181,
    .cuda_structured_simt_us_per_call = 84.6,
    .cuda_structured_simt_ps_per_flop = 0.0664,
    .cuda_fft_us_per_call = 284,
    .cuda_fft_ps_per_flop = 0.0784,
    .cuda_fft_near_ps_per_flop = 0.163,
    .cuda_fft_grid_ps_per_point = 56.9,
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_
