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
    .cuda_direct_us_per_call = 10,
    .cuda_direct_ns_per_token = 0.646,
    .cuda_direct_ps_per_flop = 0.00132,
    .cuda_direct_mma_ps_per_flop = 0.0245,
    .cuda_fused_us_per_tile = 1.56,
    .cuda_structured_us_per_call = 11.5,
    .cuda_structured_us_per_sequence = 0.0128,
    .cuda_structured_ps_per_flop = 0.0024,
    .cuda_structured_ps_per_state = 0.039,
    .cuda_structured_ps_per_decayed_state = 0.0617,
    .cuda_structured_wide_ps_per_flop = 0.00295,
    .cuda_structured_ps_per_mix = 0.182,
    .cuda_structured_simt_us_per_call = 84.3,
    .cuda_structured_simt_ps_per_flop = 0.0662,
    .cuda_fft_us_per_call = 293,
    .cuda_fft_ps_per_flop = 0.0789,
    .cuda_fft_near_ps_per_flop = 0.161,
    .cuda_fft_grid_ps_per_point = 57.8,
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_
