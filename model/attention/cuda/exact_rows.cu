#include "model/attention/cuda/early_launch.cuh"
#include "model/attention/cuda/exact_rows.cuh"
#include "model/attention/cuda/exact_rows.h"
#include "model/attention/cuda/per_device.h"

namespace longwave::attention::cuda {
namespace {

using exact::SolveRow;
using exact::Team;
constexpr int kThreads = exact::kTeamThreads;

// Blocks that share a list of rows.
constexpr int kListBlocks = 528;

__device__ Team ThisBlock() { return {static_cast<int>(threadIdx.x), 0}; }

template <typename T>
__global__ void __launch_bounds__(kThreads) AllRows(const __grid_constant__ AttentionArgs args) {
  extern __shared__ double shared[];
  WaitForPredecessors();
  SolveRow<T>(args, ThisBlock(), static_cast<int>(blockIdx.x),
              args.head_begin + static_cast<int>(blockIdx.y), shared);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    ListedRows(const __grid_constant__ AttentionArgs args, int heads, RowList list) {
  extern __shared__ double shared[];
  WaitForPredecessors();
  const int count = *list.count;
  for (int r = static_cast<int>(blockIdx.x); r < count; r += static_cast<int>(gridDim.x)) {
    SolveRow<T>(args, ThisBlock(), static_cast<int>(list.rows[r] / heads),
                static_cast<int>(list.rows[r] % heads), shared);
    __syncthreads();
  }
}

}  // namespace

cudaError_t LaunchExactRows(const AttentionArgs& args, int heads, const RowList* list,
                            cudaStream_t stream) {
  const size_t bytes = exact::ScratchBytes(args.features, args.value_dim);
  return Dispatch(args.dtype, [&](auto element) {
    using T = decltype(element);
    const auto launch = [&](auto kernel, dim3 grid, auto... rest) {
      if (bytes > 48 * 1024) {
        const cudaError_t error = AllowSharedMemory(kernel);
        if (error != cudaSuccess) return error;
      }
      return LaunchEarly(kernel, grid, kThreads, bytes, stream, args, rest...);
    };
    if (list != nullptr) return launch(ListedRows<T>, kListBlocks, heads, *list);
    if (args.sequences.tokens == 0) return cudaSuccess;
    return launch(AllRows<T>, dim3(static_cast<unsigned>(args.sequences.tokens),
                                   static_cast<unsigned>(args.head_end - args.head_begin)));
  });
}

}  // namespace longwave::attention::cuda
