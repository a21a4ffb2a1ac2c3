// Written by bench/calibrate, but for the four costs of cuda_structured by flop and by state. Those
// are fitted by hand to times of whole calls on the same kind of GPU with 12 heads, d = m = 64,
// bfloat16 (docs/kernels.md): clipped at 128 from 1k to 128k tokens, within 10%; decayed by ALiBi
// and low_rank of 1/(1+t) at 16k, within 25%; wide by the rate of HopperQueries with three tiles:
// no table of many direct tiles was timed. The next run of bench/calibrate replaces them.
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
    .cuda_direct_us_per_call = 17,
    .cuda_direct_ps_per_flop = 0.00167,
    .cuda_direct_mma_ps_per_flop = 0.00667,
    .cuda_structured_us_per_call = 17.1,
    .cuda_structured_ps_per_flop = 0.0019,
    .cuda_structured_wide_ps_per_flop = 0.0033,
    .cuda_structured_ps_per_state = 0.061,
    .cuda_structured_ps_per_decayed_state = 0.09,
    .cuda_structured_simt_ps_per_flop = 0.0667,
    .cuda_fft_us_per_call = 200,
    .cuda_fft_ps_per_point = 16,
    .cuda_fft_near_ps_per_flop = 0.143,
    .cuda_fft_grid_ps_per_point = 100,
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_
