#include "model/encoder/weight_reader.h"

#include <ATen/Functions.h>

#include <utility>

namespace longwave {
namespace {

constexpr TensorType kAnyFloat[] = {TensorType::kFloat32, TensorType::kFloat16,
                                    TensorType::kBFloat16};
constexpr TensorType kFloat32Only[] = {TensorType::kFloat32};

at::ScalarType ScalarTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat16:
      return at::kHalf;
    case TensorType::kBFloat16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

// The file's bytes as a tensor. The view owns nothing and is only read.
at::Tensor AsTensor(const TensorView& view) {
  return at::from_blob(const_cast<uint8_t*>(view.bytes.data()), view.shape,
                       at::TensorOptions(ScalarTypeOf(view.type)));
}

}  // namespace

void WeightReader::Fail(const std::string& name, absl::string_view message) {
  if (status_.ok()) status_ = file_->TensorError(name, message);
}

const TensorView* WeightReader::Find(const std::string& name, absl::Span<const int64_t> shape,
                                     absl::Span<const TensorType> types) {
  used_.insert(name);
  if (!status_.ok()) return nullptr;
  const absl::StatusOr<const TensorView*> view = file_->Find(name, shape, types);
  if (view.ok()) return *view;
  status_ = view.status();
  return nullptr;
}

void WeightReader::CopyFinite(const std::string& name, const TensorView& view, at::Tensor target) {
  target.copy_(AsTensor(view));
  parameters_ += target.numel();
  // One sum tells: a NaN or an infinity anywhere makes it one, and float64 cannot overflow on
  // float32 values.
  if (target.sum(at::kDouble).isfinite().item<bool>()) return;
  Fail(name, target.isnan().any().item<bool>() ? "found a NaN, expected finite numbers"
                                               : "found an infinity, expected finite numbers");
}

at::Tensor WeightReader::Read(const std::string& name, std::vector<int64_t> shape) {
  return ReadStacked({name}, std::move(shape));
}

at::Tensor WeightReader::ReadStacked(const std::vector<std::string>& names,
                                     std::vector<int64_t> shape) {
  std::vector<const TensorView*> views;
  for (const std::string& name : names) {
    views.push_back(Find(name, shape, kAnyFloat));
    if (views.back() == nullptr) return {};
  }
  const int64_t rows = shape[0];
  shape[0] *= static_cast<int64_t>(names.size());
  at::Tensor stacked = at::empty(shape, at::kFloat);
  for (size_t i = 0; i < names.size(); ++i) {
    CopyFinite(names[i], *views[i], stacked.narrow(0, static_cast<int64_t>(i) * rows, rows));
  }
  return stacked;
}

at::Tensor WeightReader::ReadFloat32(const std::string& name,
                                     const std::vector<std::vector<int64_t>>& shapes, bool finite) {
  // The error, if any, speaks of the shape with as many dimensions as the tensor has.
  const auto found = file_->tensors().find(name);
  const std::vector<int64_t>* expected = &shapes.front();
  for (const std::vector<int64_t>& shape : shapes) {
    if (found != file_->tensors().end() && found->second.shape.size() == shape.size()) {
      expected = &shape;
    }
  }
  const TensorView* view = Find(name, *expected, kFloat32Only);
  if (view == nullptr) return {};
  at::Tensor values = at::empty(*expected, at::kFloat);
  if (finite) {
    CopyFinite(name, *view, values);
  } else {
    values.copy_(AsTensor(*view));
    parameters_ += values.numel();
  }
  return values;
}

std::vector<std::string> WeightReader::UnusedTensors() const {
  std::vector<std::string> unused;
  for (const auto& [name, view] : file_->tensors()) {
    if (used_.count(name) == 0) unused.push_back(name);
  }
  return unused;
}

}  // namespace longwave
