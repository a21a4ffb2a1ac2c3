#include "server/rpc/embedding_writer.h"

#include <bit>
#include <cstring>
#include <string>

#include "server/rpc/half_precision.h"

namespace longwave {
namespace {

static_assert(std::endian::native == std::endian::little,
              "embeddings are copied to the wire as they lie in memory");

void WriteHalves(absl::Span<const float> values, uint16_t (*convert)(float), std::string* data) {
  data->resize(values.size() * sizeof(uint16_t));
  char* out = data->data();
  for (const float value : values) {
    const uint16_t bits = convert(value);
    std::memcpy(out, &bits, sizeof(bits));
    out += sizeof(bits);
  }
}

}  // namespace

void WriteEmbedding(absl::Span<const float> values, absl::Span<const int64_t> shape,
                    const EmbeddingFormat& format, v1::Embedding* embedding) {
  embedding->set_type(format.type);
  embedding->mutable_shape()->Assign(shape.begin(), shape.end());
  embedding->clear_values();
  std::string* data = embedding->mutable_data();
  data->clear();
  if (format.as_floats) {
    embedding->mutable_values()->Assign(values.begin(), values.end());
  } else if (format.type == v1::EMBEDDING_TYPE_FLOAT16) {
    WriteHalves(values, ToFloat16Bits, data);
  } else if (format.type == v1::EMBEDDING_TYPE_BFLOAT16) {
    WriteHalves(values, ToBfloat16Bits, data);
  } else {
    data->assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
}

}  // namespace longwave
