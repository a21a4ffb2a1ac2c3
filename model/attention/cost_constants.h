#ifndef LONGWAVE_MODEL_ATTENTION_COST_CONSTANTS_H_
#define LONGWAVE_MODEL_ATTENTION_COST_CONSTANTS_H_

namespace longwave::attention {

// What the algorithms' steps take on one core of a CPU; the predicted times are linear in them.
// bench/calibrate measures them and writes cost_table.h.
struct CostConstants {
  // direct: products of its tiles, and what comes with each row.
  double direct_ps_per_flop = 0;
  double direct_ns_per_row = 0;
  // structured, low_rank and the near band of fft: products of 64-token tiles, what comes with each
  // feature of a token, and the workspace's way through memory.
  double chunk_ps_per_flop = 0;
  double chunk_ns_per_feature = 0;
  double chunk_ps_per_byte = 0;
  // fft: transforms, counted as 5 N log2 N; the products around them, for each point of a complex
  // channel; and a head's fixed cost.
  double fft_ps_per_flop = 0;
  double fft_ps_per_point = 0;
  double fft_us_per_head = 0;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_COST_CONSTANTS_H_
