#ifndef LONGWAVE_MODEL_CHECKPOINT_SAFETENSORS_H_
#define LONGWAVE_MODEL_CHECKPOINT_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/checkpoint/folder_file.h"

namespace longwave {

// Element types that a model may use; the file format has others, which are kept as kOther.
enum class TensorType { kFloat32, kFloat16, kBFloat16, kOther };

// A tensor of a file: row-major, little-endian.
struct TensorView {
  TensorType type = TensorType::kOther;
  std::string type_name;       // as in the file: "F32", "F16", "BF16", ...
  std::vector<int64_t> shape;  // each at least 0; empty for a scalar
  absl::Span<const uint8_t>
      bytes;  // exactly the product of `shape` elements, aligned to an element's size
};

// Reads a .safetensors file (https://huggingface.co/docs/safetensors): eight bytes with the length
// of a JSON header, the header, the data.
//
// Open believes nothing: the header's length and every offset must lie inside of the file, tensors
// must cover the data without overlap or gap, lengths must match dtype and shape, names must be
// unique. After it, all views are safe to read. Nothing is allocated beyond a small multiple of the
// header, which is limited to kMaxHeaderBytes.
//
// Thread-safe. Views are valid as long as this object.
class SafetensorsFile {
 public:
  static constexpr int64_t kMaxHeaderBytes = int64_t{16} << 20;

  // INVALID_ARGUMENT naming the file, the tensor, what was found and what was expected; NOT_FOUND
  // without such a file.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& folder, const std::string& name);

  // By name.
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }

  // The tensor `name`, which must have `shape` and one of `types`; otherwise INVALID_ARGUMENT
  // naming all of it.
  absl::StatusOr<const TensorView*> Find(absl::string_view name, absl::Span<const int64_t> shape,
                                         absl::Span<const TensorType> types) const;

  // An error about the tensor `name` of this file.
  absl::Status TensorError(absl::string_view name, absl::string_view message) const;

  // For messages.
  const std::string& path() const { return file_.path(); }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}

  absl::Status ReadHeader();

  MappedFile file_;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

// "[3, 4]", for messages.
std::string ShapeString(absl::Span<const int64_t> shape);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_CHECKPOINT_SAFETENSORS_H_
