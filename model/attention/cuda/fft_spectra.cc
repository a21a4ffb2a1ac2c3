#include "model/attention/cuda/fft_spectra.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/fft_fft.h>
#include <ATen/ops/fft_rfft2.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "model/attention/cuda/fft_block.h"
#include "model/attention/fft_split.h"

namespace longwave::attention::cuda {
namespace {

static_assert(kFftChunk == kChunk && kFftNearChunks == TableSplit::kNearChunks);

// Farther than any token.
constexpr int32_t kNowhere = std::numeric_limits<int32_t>::max();

at::Tensor Roots(const at::Device& device) {
  at::Tensor roots = at::empty({kMaxBlockPoints}, at::kComplexFloat);
  auto* const data = roots.mutable_data_ptr<c10::complex<float>>();
  for (int k = 0; k < kMaxBlockPoints; ++k) {
    const double angle = -2 * std::numbers::pi * k / kMaxBlockPoints;
    data[k] = {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
  }
  return roots.to(device);
}

// far: the remainder, distances -(reach - 1) to reach - 1.
FftNear NearOf(const TableSplit& split, const std::vector<double>& far) {
  FftNear near{};
  TORCH_INTERNAL_ASSERT(split.near.size() == kFftNearWeights &&
                        split.diagonals.size() <= kFftMostDiagonals);
  std::copy(split.near.begin(), split.near.end(), near.weights);
  near.left_floor = static_cast<float>(split.left_floor);
  near.right_floor = static_cast<float>(split.right_floor);
  for (const Diagonal& diagonal : split.diagonals) {
    near.diagonals[near.diagonal_count++] = {static_cast<int32_t>(diagonal.distance),
                                             diagonal.weight};
  }
  const auto center = static_cast<int64_t>(far.size()) / 2;
  near.left_nearest = near.right_nearest = kNowhere;
  for (int64_t t = center; t > 0; --t) {
    if (far[center - t] != 0) near.left_nearest = static_cast<int32_t>(t);
    if (far[center + t] != 0) near.right_nearest = static_cast<int32_t>(t);
  }
  return near;
}

std::shared_ptr<const FftSpectrum> Compute(const PositionBias& bias, int64_t reach, int64_t rows,
                                           int64_t columns, const at::Device& device) {
  const at::Tensor table = bias.Table().values;
  const int64_t heads = table.size(0), width = table.size(2), edge = width / 2;
  const int64_t size = rows * columns;
  const at::TensorOptions on_device = at::TensorOptions().device(device);
  auto spectrum = std::make_shared<FftSpectrum>();
  spectrum->size = size;
  spectrum->reach = reach;
  spectrum->values = at::empty({heads, rows, columns}, on_device.dtype(at::kComplexFloat));
  at::Tensor norms = at::empty({heads}, at::kFloat);
  at::Tensor near = at::empty({heads, static_cast<int64_t>(sizeof(FftNear))}, at::kByte);
  auto* const nears = reinterpret_cast<FftNear*>(near.mutable_data_ptr());
  std::vector<std::vector<double>> far(heads);
  at::parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      const float* const center = table.const_data_ptr<float>() + h * width + edge;
      const auto b = [&](int64_t t) -> double {
        if (bias.causal() && t > 0) return -std::numeric_limits<double>::infinity();
        return center[std::clamp(t, -edge, edge)];
      };
      nears[h] = NearOf(SplitTable(b, reach, far[h]), far[h]);
    }
  });
  spectrum->transforms = false;
  // Element p of the first column of the circulant belongs to distance -p, element N - p to +p.
  const at::Tensor place =
      at::arange(1 - reach, reach, on_device.dtype(at::kLong)).neg().remainder(size);
  for (int64_t h = 0; h < heads; ++h) {
    spectrum->floors |= nears[h].left_floor > 0 || nears[h].right_floor > 0;
    spectrum->transforms |= nears[h].left_nearest != kNowhere || nears[h].right_nearest != kNowhere;
    const at::Tensor c =
        at::from_blob(far[h].data(), {static_cast<int64_t>(far[h].size())}, at::kDouble).to(device);
    at::Tensor circulant = at::zeros({size}, c.options());
    circulant.index_copy_(0, place, c);
    const at::Tensor values = at::fft_fft(circulant, size, -1, "forward");
    spectrum->values[h].copy_(values.view({columns, rows}).t());
    double square = 0;
    for (const double weight : far[h]) square += weight * weight;
    norms.mutable_data_ptr<float>()[h] = static_cast<float>(std::sqrt(square));
  }
  spectrum->norms = norms.to(device);
  spectrum->near = near.to(device);
  return spectrum;
}

std::shared_ptr<const FftSpectrum> ComputeGrid(const PositionBias& bias, int64_t height,
                                               int64_t width, const at::Device& device) {
  const at::Tensor table = bias.Table().values.to(device).to(at::kDouble);
  const at::Tensor c = (table - table.amax({1, 2}, /*keepdim=*/true)).exp();
  // The circulant holds distance (dy, dx) at (-dy, -dx), modulo its size.
  const auto places = [&](int64_t distances, int64_t size) {
    const int64_t reach = (distances + 1) / 2;
    return at::arange(1 - reach, reach, c.options().dtype(at::kLong)).neg().remainder(size);
  };
  at::Tensor wide = at::zeros({c.size(0), c.size(1), width}, c.options());
  wide.index_copy_(2, places(c.size(2), width), c);
  at::Tensor circulant = at::zeros({c.size(0), height, width}, c.options());
  circulant.index_copy_(1, places(c.size(1), height), wide);
  auto spectrum = std::make_shared<FftSpectrum>();
  spectrum->size = height * width;
  spectrum->values =
      at::fft_rfft2(circulant, at::OptionalIntArrayRef(), {-2, -1}).to(at::kComplexFloat);
  spectrum->norms = c.square().sum(at::IntArrayRef({1, 2})).sqrt().to(at::kFloat);
  c10::cuda::getCurrentCUDAStream(device.index()).synchronize();  // others may read it at once
  return spectrum;
}

}  // namespace

FftSpectra::FftSpectra(const at::Device& device) : device_(device), roots_(Roots(device)) {}

template <typename Make>
std::shared_ptr<const FftSpectrum> FftSpectra::Find(int64_t size, int64_t reach,
                                                    const Make& make) const {
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream(device_.index());
  const bool capturing =
      c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None;
  const std::scoped_lock lock(mutex_);
  const auto it = std::find_if(recent_.begin(), recent_.end(), [&](const Entry& entry) {
    return entry.spectrum->size == size && entry.spectrum->reach == reach;
  });
  if (it != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, it);
  } else {
    recent_.push_front({make(), /*captured=*/false});
    int64_t bytes = 0;
    for (auto kept = recent_.begin(); kept != recent_.end();) {
      bytes += kept->spectrum->bytes();
      const bool drop = bytes > kMaxBytes && kept != recent_.begin() && !kept->captured;
      kept = drop ? recent_.erase(kept) : std::next(kept);
    }
  }
  Entry& found = recent_.front();
  found.captured |= capturing;
  // Once it is dropped, its memory is not given away before the kernels that read it are done.
  for (const at::Tensor* const x :
       {&found.spectrum->values, &found.spectrum->norms, &found.spectrum->near}) {
    if (x->defined()) x->record_stream(stream);
  }
  return found.spectrum;
}

std::shared_ptr<const FftSpectrum> FftSpectra::Get(const PositionBias& bias, int64_t n,
                                                   int64_t rows, int64_t columns) const {
  // As many tokens as the transform serves, but not beyond the table without need: its edges may be
  // large, and repeated they are no longer single weights.
  const int64_t most = rows * columns / 2, length = (bias.Table().values.size(2) + 1) / 2;
  const int64_t reach = n <= length ? std::min(most, length) : most;
  return Find(rows * columns, reach, [&] { return Compute(bias, reach, rows, columns, device_); });
}

std::shared_ptr<const FftSpectrum> FftSpectra::GetGrid(const PositionBias& bias, int64_t height,
                                                       int64_t width) const {
  return Find(height * width, /*reach=*/0,
              [&] { return ComputeGrid(bias, height, width, device_); });
}

}  // namespace longwave::attention::cuda
