#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "model/attention/cuda/direct_fused.h"
#include "model/attention/cuda/direct_fused_team.cuh"
#include "model/attention/cuda/early_launch.cuh"
#include "model/attention/cuda/per_device.h"

namespace longwave::attention::cuda {
namespace {

using fused::bf16;
using fused::Config;

constexpr int kSharedLimit = 227 * 1024;

// A block stays with one head, so that W and the weights are made once, and takes every
// (gridDim.x / heads)-th of its items. Heads side by side as they are in memory.
template <class C>
__global__ void __launch_bounds__(C::kThreads, 1)
    DirectFused(const __grid_constant__ DirectArgs args, const __grid_constant__ TokenMaps maps,
                int longest, int whole) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  WaitForPredecessors();
  LaunchDependents();
  extern __shared__ char raw[];
  auto& shared = *reinterpret_cast<typename C::Shared*>(
      raw + (1024 - hopper::SharedAddress(raw) % 1024) % 1024);
  const AttentionArgs& a = args.attention;
  const int heads = a.head_end - a.head_begin;
  const int block = static_cast<int>(blockIdx.x);
  const int team = static_cast<int>(threadIdx.x) / (C::kThreads / C::kTeams);
  fused::Team<C>(args, maps, a.head_begin + block % heads, longest, whole,
                 block / heads * C::kTeams + team, static_cast<int>(gridDim.x) / heads * C::kTeams,
                 shared)
      .Run();
#endif  // never launched elsewhere: FusedServes()
}

template <class C>
cudaError_t Launch(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream) {
  const AttentionArgs& a = args.attention;
  TokenMaps maps;
  const auto map = [&a](const TokenView& view, int columns, CUtensorMap* made) {
    return MapTokens(view, a.head_end, a.sequences.tokens, columns, fused::kTile, made);
  };
  const auto kernel = DirectFused<C>;
  const int bytes = C::Bytes(plan.longest);
  // Before the maps, which the driver makes: a new thread has a context from the runtime only.
  cudaError_t error = AllowSharedMemory(kernel);
  if (error == cudaSuccess) error = map(a.q, a.dim, &maps.q);
  if (error == cudaSuccess) error = map(a.k, a.dim, &maps.k);
  if (error == cudaSuccess) error = map(a.v, a.value_dim, &maps.v);
  if (error != cudaSuccess) return error;
  return LaunchEarly(kernel, plan.lanes * (a.head_end - a.head_begin), C::kThreads, bytes, stream,
                     args, maps, plan.longest, static_cast<int>(plan.layout.whole()));
}

// Calls fn with the Config of a layout.
template <typename Fn>
auto ForLayout(const FusedLayout& layout, const Fn& fn) {
  switch (layout.teams * 100 + layout.row_groups * 10 + layout.key_groups) {
    case 141:
      return fn(Config<1, 4, 1>());
    case 221:
      return fn(Config<2, 2, 1>());
    case 411:
      return fn(Config<4, 1, 1>());
    case 122:
      return fn(Config<1, 2, 2>());
    default:
      return fn(Config<1, 1, 4>());
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
         WholePieces<float>(w, a.dim) && a.q.token_stride > 0 && a.k.token_stride > 0 &&
         a.v.token_stride > 0 && a.q.head_stride > 0 && a.k.head_stride > 0 &&
         a.v.head_stride > 0 && HasDirectHopper();
}

int FusedMaxLength(const FusedLayout& layout) {
  return ForLayout(layout, [](auto config) { return decltype(config)::MaxLength(kSharedLimit); });
}

cudaError_t LaunchDirectFused(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream) {
  return ForLayout(plan.layout,
                   [&](auto config) { return Launch<decltype(config)>(args, plan, stream); });
}

}  // namespace longwave::attention::cuda
