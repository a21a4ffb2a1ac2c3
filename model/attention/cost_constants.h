#ifndef LONGWAVE_MODEL_ATTENTION_COST_CONSTANTS_H_
#define LONGWAVE_MODEL_ATTENTION_COST_CONSTANTS_H_

namespace longwave::attention {

// What the algorithms' steps take; the predicted times are linear in them. bench/calibrate measures
// them and writes cost_table.h.
struct CostConstants {
  // On one core of a CPU.

  // direct: products of its tiles, and what comes with each row.
  double direct_ps_per_flop = 0;
  double direct_ns_per_row = 0;
  // structured, low_rank and the near band of fft: products of 64-token tiles, what comes with each
  // feature of a token, and the workspace's way through memory.
  double chunk_ps_per_flop = 0;
  double chunk_ns_per_feature = 0;
  double chunk_ps_per_byte = 0;
  // structured in a grid: products of rows and columns of blocks.
  double line_ps_per_flop = 0;
  // fft: transforms with the products around them, counted as 5 N log2 N; and a head's fixed
  // cost.
  double fft_ps_per_flop = 0;
  double fft_us_per_head = 0;

  // On a CUDA device as a whole.

  // direct by tiles in device memory: what a call costs, the operands of a token, and the products,
  // which run on Hopper's warpgroup instructions or, for grids and on other devices, on the tensor
  // cores of all.
  double cuda_direct_us_per_call = 0;
  double cuda_direct_ns_per_token = 0;
  double cuda_direct_ps_per_flop = 0;
  double cuda_direct_mma_ps_per_flop = 0;
  // direct in one kernel, for short sequences: a thread block's tile of keys in one of the kernel's
  // layouts, to which direct_costs.cc compares all the rest.
  double cuda_fused_us_per_tile = 0;
  // structured, low_rank on tensor cores (bfloat16): what a call costs; a sequence; the products of
  // its tokens; what each element of a state costs a token, of a constant or of an exponential
  // (decayed); the products where a head's direct tiles are not few neighbours (wide); and a
  // multiplication of an element by a coefficient of a smooth far field, each block.
  double cuda_structured_us_per_call = 0;
  double cuda_structured_us_per_sequence = 0;
  double cuda_structured_ps_per_flop = 0;
  double cuda_structured_ps_per_state = 0;
  double cuda_structured_ps_per_decayed_state = 0;
  double cuda_structured_wide_ps_per_flop = 0;
  double cuda_structured_ps_per_mix = 0;
  // The same without tensor cores.
  double cuda_structured_simt_us_per_call = 0;
  double cuda_structured_simt_ps_per_flop = 0;
  // fft: what a call costs; transforms, there and back, counted as 5 N log2 N each; what is not
  // transformed; and in a grid each point of a complex channel with all that belongs to it.
  double cuda_fft_us_per_call = 0;
  double cuda_fft_ps_per_flop = 0;
  double cuda_fft_near_ps_per_flop = 0;
  double cuda_fft_grid_ps_per_point = 0;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_COST_CONSTANTS_H_
