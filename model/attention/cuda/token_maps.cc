#include "model/attention/cuda/token_maps.h"

namespace longwave::attention::cuda {

cudaError_t MapTokens(const TokenView& view, int heads, int64_t tokens, int columns, int rows,
                      CUtensorMap* map) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode kEncode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                               12000, cudaEnableDefault, &result);
    return error == cudaSuccess && result == cudaDriverEntryPointSuccess
               ? reinterpret_cast<Encode>(found)
               : nullptr;
  }();
  if (kEncode == nullptr) return cudaErrorNotSupported;
  constexpr cuuint64_t kElement = 2;
  constexpr cuuint32_t kColumns = 64;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(heads),
                              static_cast<cuuint64_t>(tokens)};
  const cuuint64_t strides[] = {kElement * static_cast<cuuint64_t>(view.head_stride),
                                kElement * static_cast<cuuint64_t>(view.token_stride)};
  const cuuint32_t box[] = {kColumns, 1, static_cast<cuuint32_t>(rows)};
  const cuuint32_t steps[] = {1, 1, 1};
  const CUresult result =
      kEncode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, view.data, sizes, strides, box, steps,
              CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
              CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorNotSupported;
}

}  // namespace longwave::attention::cuda
