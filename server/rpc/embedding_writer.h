#ifndef LONGWAVE_SERVER_RPC_EMBEDDING_WRITER_H_
#define LONGWAVE_SERVER_RPC_EMBEDDING_WRITER_H_

#include <cstdint>

#include "absl/types/span.h"
#include "longwave/v1/inference.pb.h"

namespace longwave {

// How the numbers of embeddings go over the wire.
struct EmbeddingFormat {
  v1::EmbeddingType type = v1::EMBEDDING_TYPE_FLOAT32;  // never UNSPECIFIED
  bool as_floats = false;                               // then `type` is FLOAT32

  // Bytes of one number in a message.
  int64_t element_bytes() const { return type == v1::EMBEDDING_TYPE_FLOAT32 ? 4 : 2; }
};

// Writes row-major `values` into `embedding`: the elements, their type, and `shape` (whose product
// is the number of values).
void WriteEmbedding(absl::Span<const float> values, absl::Span<const int64_t> shape,
                    const EmbeddingFormat& format, v1::Embedding* embedding);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_EMBEDDING_WRITER_H_
