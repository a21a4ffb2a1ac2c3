#include <algorithm>
#include <cstdint>

#include "model/attention/cuda/direct_operand_features.cuh"
#include "model/attention/cuda/direct_operand_parts.cuh"
#include "model/attention/cuda/per_device.h"

// The launch that writes phi(q), phi(k) and v as tiles.
namespace longwave::attention::cuda {
namespace {

using operands::Aligned;
using operands::Chunk;
using operands::FeatureRows;
using operands::kThreads;
using operands::LoadChunk;
using operands::Parts;
using operands::Role;
using operands::SharedLayout;
using operands::Split;
using operands::ToFloat;

constexpr int kWantedBlocks = 1600;

template <typename T>
__device__ void CopyValues(const DirectArgs& args, const SequenceTile& tile, int head,
                           bool aligned) {
  constexpr int kParts = Parts<T>::kOutput;
  const AttentionArgs& a = args.attention;
  const int64_t begin = PaddedBegin(tile) + tile.row;
  const int panels = args.operands.v.panels;
  // Every thread copies chunk threadIdx.x % 8 of some rows.
  constexpr int kRowsAtOnce = kThreads / 8;
  const int chunk = threadIdx.x % 8, first_row = threadIdx.x / 8;
  for (int panel = 0; panel < panels; ++panel) {
    const int channel = panel * kPanelColumns + 8 * chunk;
    Chunk<T> raw[kTileRows / kRowsAtOnce];
#pragma unroll
    for (int i = 0; i < kTileRows / kRowsAtOnce; ++i) {
      const int row = tile.row + first_row + i * kRowsAtOnce;
      const T* const x = static_cast<const T*>(a.v.data) +
                         (tile.token_begin + row) * a.v.token_stride +
                         (a.head_begin + head) * a.v.head_stride + channel;
      raw[i] = LoadChunk(x, row < tile.length ? a.value_dim - channel : 0, aligned);
    }
#pragma unroll
    for (int i = 0; i < kTileRows / kRowsAtOnce; ++i) {
      const int row = first_row + i * kRowsAtOnce;
      __align__(16) __nv_bfloat16 out[kParts][8];
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        __nv_bfloat16 parts[kParts];
        Split(ToFloat(raw[i].values[e]), parts);
#pragma unroll
        for (int p = 0; p < kParts; ++p) out[p][e] = parts[p];
      }
#pragma unroll
      for (int p = 0; p < kParts; ++p) {
        // Tiles begin at multiples of eight rows.
        *reinterpret_cast<uint4*>(PanelOf(args.operands, args.operands.v, p, head, panel) +
                                  begin * kPanelRowBytes + SwizzledByte(row, chunk)) =
            *reinterpret_cast<const uint4*>(out[p]);
      }
    }
  }
}

struct Alignment {
  bool q, k, v, projection;
};

// Blocks (head, tiles, role): a block takes every gridDim.y-th tile. Heads come first because they
// are neighbours in memory.
template <typename T, int kChunks>
__global__ void __launch_bounds__(kThreads)
    WriteOperands(const __grid_constant__ DirectArgs args, Alignment aligned, int tiles,
                  bool maxima_only) {
  extern __shared__ __align__(16) char shared[];
  const int head = static_cast<int>(blockIdx.x);
  const Role role = maxima_only ? Role::kKey : static_cast<Role>(blockIdx.z);
  FeatureRows<T, kChunks> rows(args, role, head, role == Role::kQuery ? aligned.q : aligned.k,
                               aligned.projection, shared);
  if (role != Role::kValue) rows.LoadProjection();
  for (int t = static_cast<int>(blockIdx.y); t < tiles; t += static_cast<int>(gridDim.y)) {
    const SequenceTile tile = FindTile(args.attention.sequences, t, kTileRows);
    if (!tile.valid) continue;
    if (role == Role::kValue) {
      CopyValues<T>(args, tile, head, aligned.v);
    } else {
      rows.Run(tile, maxima_only);
    }
  }
}

template <typename T, int kChunks>
cudaError_t Launch(const DirectArgs& args, cudaStream_t stream) {
  const AttentionArgs& a = args.attention;
  const SharedLayout<kChunks> layout{(a.features + 7) / 8 * 8, args.operands.k.panels};
  const int bytes =
      layout.ProjectionBytes(Parts<T>::kProjection) + layout.RowsBytes(Parts<T>::kOutput);
  const auto kernel = WriteOperands<T, kChunks>;
  if (bytes > 48 * 1024) {
    const cudaError_t error = AllowSharedMemory(kernel);
    if (error != cudaSuccess) return error;
  }
  const Alignment aligned{
      Aligned<T>(a.q, a.dim), Aligned<T>(a.k, a.dim), Aligned<T>(a.v, a.value_dim),
      Aligned<float>(
          {const_cast<float*>(a.projection), a.projection_row_stride, a.projection_head_stride},
          a.dim)};
  // Enough blocks to fill the device, few enough that each uses its copy of W several times.
  const int tiles = TileCount(a.sequences, kTileRows);
  const int blocks = std::clamp(kWantedBlocks / (3 * args.operands.heads), 1, tiles);
  const dim3 grid(args.operands.heads, blocks, 3);
  if (args.operands.key_maxima != nullptr) {
    // Every byte 0x80: far below the ordered form of -infinity's neighbours.
    const size_t size = sizeof(int32_t) * args.operands.heads * a.sequences.count * kMaxColumns;
    cudaError_t error = cudaMemsetAsync(args.operands.key_maxima, 0x80, size, stream);
    if (error != cudaSuccess) return error;
    kernel<<<dim3(grid.x, grid.y, 1), kThreads, bytes, stream>>>(args, aligned, tiles, true);
    error = cudaGetLastError();
    if (error != cudaSuccess) return error;
  }
  kernel<<<grid, kThreads, bytes, stream>>>(args, aligned, tiles, false);
  return cudaGetLastError();
}

}  // namespace

cudaError_t LaunchDirectOperands(const DirectArgs& args, cudaStream_t stream) {
  const bool narrow = args.attention.dim <= 64;
  switch (args.attention.dtype) {
    case DType::kBFloat16:
      return narrow ? Launch<__nv_bfloat16, 2>(args, stream)
                    : Launch<__nv_bfloat16, 4>(args, stream);
    case DType::kHalf:
      return narrow ? Launch<__half, 2>(args, stream) : Launch<__half, 4>(args, stream);
    case DType::kFloat:
      return narrow ? Launch<float, 2>(args, stream) : Launch<float, 4>(args, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace longwave::attention::cuda
