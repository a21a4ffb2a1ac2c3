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
    .fft_ps_per_point = 0,
    .fft_us_per_head = 969,
    .cuda_direct_us_per_call = 19.8,
    .cuda_direct_ps_per_flop = 0.00163,
    .cuda_direct_mma_ps_per_flop = 0.0316,
    .cuda_structured_us_per_call = 12,
    .cuda_structured_ps_per_flop = 0.00256,
    .cuda_structured_wide_ps_per_flop = 0.00293,
    .cuda_structured_ps_per_state = 0.0373,
    .cuda_structured_ps_per_decayed_state = 0.063,
    .cuda_structured_simt_ps_per_flop = 0.0757,
    .cuda_fft_us_per_call = 161,
    .cuda_fft_ps_per_point = 11.8,
    .cuda_fft_near_ps_per_flop = 0.19,
    .cuda_fft_grid_ps_per_point = 59.8,
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_
