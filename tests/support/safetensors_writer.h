#ifndef LONGWAVE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
#define LONGWAVE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/checkpoint/safetensors.h"

namespace longwave::testing {

// A tensor's values, row-major, before they are written with some element type.
struct FloatTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

using WeightMap = std::map<std::string, FloatTensor>;

// The bytes of a .safetensors file with a header and data of any content, right or wrong.
std::string RawSafetensors(const std::string& header, const std::string& data);

// A right one. `type` is that of all tensors but attention projections and relative biases, which
// are always F32; values are rounded to it.
std::string SerializeSafetensors(const WeightMap& weights, TensorType type = TensorType::kFloat32);

// What reading a value written as `type` gives.
float RoundTo(TensorType type, float value);

}  // namespace longwave::testing

#endif  // LONGWAVE_TESTS_SUPPORT_SAFETENSORS_WRITER_H_
