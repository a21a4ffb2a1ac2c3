#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "model/attention/cuda/direct_fused.h"
#include "model/attention/cuda/direct_fused_block.cuh"

// direct_hopper.cu's quadratic part with the features computed in the kernel.
namespace longwave::attention::cuda {
namespace {

using fused::bf16;
using fused::kGroupThreads;
using fused::kTile;

constexpr int kSharedLimit = 227 * 1024;

// Blocks (rows of a sequence x head), heads side by side as they are in memory. capacity: longest
// sequence that weights have room for.
template <int kRowGroups, int kKeyGroups>
__global__ void __launch_bounds__(kRowGroups* kKeyGroups* kGroupThreads, 1)
    DirectFused(const __grid_constant__ DirectArgs args, int passes, int capacity) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using C = fused::Config<kRowGroups, kKeyGroups>;
  extern __shared__ char raw[];
  auto& shared = *reinterpret_cast<typename C::Shared*>(
      raw + (1024 - hopper::SharedAddress(raw) % 1024) % 1024);
  const AttentionArgs& a = args.attention;
  const int heads = a.head_end - a.head_begin;
  const int rows = kTile * kRowGroups * passes;
  const SequenceTile place =
      fused::FindBlock(a.sequences, static_cast<int>(blockIdx.x) / heads, rows);
  if (!place.valid) return;
  fused::Block<kRowGroups, kKeyGroups> block(
      args, place, a.head_begin + static_cast<int>(blockIdx.x) % heads, passes, shared);
  if (place.length > capacity) {
    block.RunExactly();
  } else {
    block.ClearDoubts();
    block.Run(C::SecondCopy(capacity, rows));
  }
  block.Repair();
#endif  // never launched elsewhere: FusedServes()
}

template <int kRowGroups, int kKeyGroups>
cudaError_t Launch(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream) {
  using C = fused::Config<kRowGroups, kKeyGroups>;
  const AttentionArgs& a = args.attention;
  const auto kernel = DirectFused<kRowGroups, kKeyGroups>;
  const int bytes = C::kBytes + 8 * C::SecondCopy(plan.longest, plan.layout.rows());
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const int grid = plan.blocks * (a.head_end - a.head_begin);
  kernel<<<grid, C::kThreads, bytes, stream>>>(args, plan.layout.passes, plan.longest);
  return cudaGetLastError();
}

template <int kRowGroups, int kKeyGroups>
int MaxLength(const FusedLayout& layout) {
  using C = fused::Config<kRowGroups, kKeyGroups>;
  if (layout.passes > 1) return C::kStages * kTile;
  return (kSharedLimit - C::kBytes) / 8 - layout.rows() - 2 * kTile;
}

template <typename Fn>
auto ForLayout(const FusedLayout& layout, const Fn& fn) {
  using std::integral_constant;
  switch (layout.row_groups) {
    case 4:
      return fn(integral_constant<int, 4>(), integral_constant<int, 1>());
    case 3:
      return fn(integral_constant<int, 3>(), integral_constant<int, 1>());
    case 2:
      return fn(integral_constant<int, 2>(), integral_constant<int, 2>());
    default:
      return fn(integral_constant<int, 1>(), integral_constant<int, 4>());
  }
}

template <typename T>
bool WholePieces(const TokenView& view, int channels) {
  const auto whole = [](int64_t elements) { return elements * sizeof(T) % 16 == 0; };
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && whole(view.token_stride) &&
         whole(view.head_stride) && channels % 8 == 0;
}

}  // namespace

bool FusedServes(const AttentionArgs& a) {
  if (a.dtype != DType::kBFloat16 || a.trigonometric || !a.normalize || a.bias.grid_width > 0 ||
      std::max({a.dim, a.features, a.value_dim}) > fused::kWidth) {
    return false;
  }
  const TokenView w{const_cast<float*>(a.projection), a.projection_row_stride,
                    a.projection_head_stride};
  return WholePieces<bf16>(a.q, a.dim) && WholePieces<bf16>(a.k, a.dim) &&
         WholePieces<bf16>(a.v, a.value_dim) && WholePieces<bf16>(a.out, a.value_dim) &&
         WholePieces<float>(w, a.dim) && HasDirectHopper();
}

int FusedMaxLength(const FusedLayout& layout) {
  return ForLayout(layout, [&](auto rows, auto keys) {
    return MaxLength<decltype(rows)::value, decltype(keys)::value>(layout);
  });
}

cudaError_t LaunchDirectFused(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream) {
  return ForLayout(plan.layout, [&](auto rows, auto keys) {
    return Launch<decltype(rows)::value, decltype(keys)::value>(args, plan, stream);
  });
}

}  // namespace longwave::attention::cuda
