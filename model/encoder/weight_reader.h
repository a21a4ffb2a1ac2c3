#ifndef LONGWAVE_MODEL_ENCODER_WEIGHT_READER_H_
#define LONGWAVE_MODEL_ENCODER_WEIGHT_READER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/checkpoint/safetensors.h"

namespace longwave {

// Copies tensors out of a file, widened to float32, after checking name, shape, dtype and that
// every value is finite. Nothing is allocated before the file is known to hold that many values.
//
// The first error sticks: after it, every call returns an undefined tensor, and the caller looks at
// status() once, at the end. May throw c10::Error (no memory). Not thread-safe.
class WeightReader {
 public:
  // `file` must outlive this object.
  explicit WeightReader(const SafetensorsFile* file) : file_(file) {}

  // F32, F16 or BF16 of `shape`.
  at::Tensor Read(const std::string& name, std::vector<int64_t> shape);

  // Tensors of one `shape` each, one after the other along the first dimension.
  at::Tensor ReadStacked(const std::vector<std::string>& names, std::vector<int64_t> shape);

  // F32 of one of `shapes`. With `finite` false, what the values are is the caller's business.
  at::Tensor ReadFloat32(const std::string& name, const std::vector<std::vector<int64_t>>& shapes,
                         bool finite);

  // Keeps an error about the tensor `name`, unless there is one already.
  void Fail(const std::string& name, absl::string_view message);

  const absl::Status& status() const { return status_; }

  // Numbers in the tensors read so far.
  int64_t parameters() const { return parameters_; }

  // Tensors of the file that nothing has asked for.
  std::vector<std::string> UnusedTensors() const;

 private:
  const TensorView* Find(const std::string& name, absl::Span<const int64_t> shape,
                         absl::Span<const TensorType> types);
  void CopyFinite(const std::string& name, const TensorView& view, at::Tensor target);

  const SafetensorsFile* file_;
  absl::Status status_;
  int64_t parameters_ = 0;
  std::set<std::string> used_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_WEIGHT_READER_H_
