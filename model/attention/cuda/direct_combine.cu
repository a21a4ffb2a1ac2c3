#include "model/attention/cuda/direct_tiles.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kWarps = 8;

// One warp a row.
template <typename T>
__global__ void __launch_bounds__(32 * kWarps)
    CombineSplits(const __grid_constant__ DirectArgs args) {
  const AttentionArgs& a = args.attention;
  const int token = static_cast<int>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int head = static_cast<int>(blockIdx.y);
  if (token >= a.sequences.tokens) return;
  const int s = SequenceOf(a.sequences, token);
  const Span span = SpanOf(a.sequences, s);
  if (!Takes(a.sequences, span.length())) return;
  const int64_t row =
      static_cast<int64_t>(FirstTile(span.begin, s, kTileRows)) * kTileRows + (token - span.begin);
  const int columns = args.operands.v.panels * kPanelColumns;
  const int lane = threadIdx.x % 32;
  float sums[kMaxColumns / 32] = {}, denominator = 0;
  for (int split = 0; split < args.splits; ++split) {
    const int64_t at =
        (static_cast<int64_t>(split) * args.operands.heads + head) * args.operands.rows + row;
    denominator += args.denominators[at];
#pragma unroll
    for (int c = 0; c < kMaxColumns / 32; ++c) {
      if (32 * c < columns) sums[c] += args.sums[at * columns + 32 * c + lane];
    }
  }
  if (lane == 0 && Doubtful(denominator, args, span.length())) {
    MarkDoubtful(args, token, a.head_begin + head);
  }
  T* const to = static_cast<T*>(a.out.data) + token * a.out.token_stride +
                (a.head_begin + head) * a.out.head_stride;
#pragma unroll
  for (int c = 0; c < kMaxColumns / 32; ++c) {
    if (32 * c + lane < a.value_dim) to[32 * c + lane] = static_cast<T>(sums[c] / denominator);
  }
}

}  // namespace

cudaError_t LaunchDirectCombine(const DirectArgs& args, cudaStream_t stream) {
  const AttentionArgs& a = args.attention;
  const dim3 grid(static_cast<unsigned>((a.sequences.tokens + kWarps - 1) / kWarps),
                  args.operands.heads);
  return Dispatch(a.dtype, [&](auto element) {
    CombineSplits<decltype(element)><<<grid, 32 * kWarps, 0, stream>>>(args);
    return cudaGetLastError();
  });
}

}  // namespace longwave::attention::cuda
