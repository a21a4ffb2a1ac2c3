// Written by bench/calibrate on AMD EPYC, 2 threads, 2026-11-24: do not edit.
#ifndef LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_
#define LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_

#include "model/attention/cost_constants.h"

namespace longwave::attention {

inline constexpr CostConstants kCpuCosts = {
    .direct_ps_per_flop = 14.2,
    .direct_ns_per_row = 547,
    .chunk_ps_per_flop = 11.3,
    .chunk_ns_per_feature = 0.338,
    .chunk_ps_per_byte = 591,
    .fft_ps_per_flop = 61.6,
    .fft_ps_per_point = 0,
    .fft_us_per_head = 969,
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_
