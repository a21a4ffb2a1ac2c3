#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNKED_ATTENTION_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNKED_ATTENTION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "model/attention/structured/aligned.h"
#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/prepared_head.h"
#include "model/attention/structured/threading.h"

namespace longwave::attention {

// One sequence and head: float32 rows, `*_stride` floats apart. Not owned.
struct HeadInput {
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  float* out = nullptr;
  std::ptrdiff_t q_stride = 0;
  std::ptrdiff_t k_stride = 0;
  std::ptrdiff_t v_stride = 0;
  std::ptrdiff_t out_stride = 0;
  int64_t tokens = 0;
};

// A projection W [features, dim] padded in both layouts that the kernels read.
class PaddedProjection {
 public:
  PaddedProjection(const ChunkShape& shape, const float* w);
  const float* rows() const { return rows_; }        // [features_pad][dim_pad]
  const float* columns() const { return columns_; }  // [dim_pad][features_pad]

 private:
  AlignedFloats storage_;
  float* rows_ = nullptr;
  float* columns_ = nullptr;
};

// Aligned float memory that only grows, so that consecutive heads reuse pages that are already
// mapped.
class Workspace {
 public:
  float* Get(std::size_t floats);

 private:
  std::optional<AlignedFloats> storage_;
  std::size_t size_ = 0;
};

// One head of one sequence and what it is computed with. Nothing is owned.
struct HeadProblem {
  const ChunkShape& shape;
  float scale = 1;  // of the normalised tokens
  const PaddedProjection& projection;
  const HeadInput& input;
  Threading threading = Threading::kSerial;
  Workspace& workspace;
};

// Linear-time attention of one head by the structure of its table: direct tiles, and a far field of
// chunk states that scans carry from keys to queries. prf features only; their exponents must stay
// within kMaxExponent.
//
// Time: O(tokens) for a bounded number of direct tiles and terms. Memory: WorkspaceFloats, in the
// problem's workspace. Returns false, with `out` unusable, when a row's denominator is not far
// inside float32's range or is NaN: the caller takes an algorithm that scales row by row.
bool ChunkedAttention(const HeadProblem& problem, const PreparedHead& head);

// By channel, the power of two that brings its largest |v| to about 1: values near the ends of
// float32's range would be lost in sums.
std::vector<float> ValueFactors(const HeadInput& input, int value_dim);

// Whether all denominators of a head lie far inside float32's range. Thread-safe.
class DenominatorCheck {
 public:
  DenominatorCheck(int64_t tokens, int features);

  void Add(float denominator) {
    // NaN fails, too.
    if (!(denominator >= smallest_ && denominator <= kLargest))
      failed_.store(true, std::memory_order_relaxed);
  }

  bool passed() const { return !failed_.load(std::memory_order_relaxed); }

 private:
  static constexpr float kLargest = 1e37F;

  const float smallest_;
  std::atomic<bool> failed_{false};
};

// Floats of workspace that one head of `tokens` tokens needs.
std::size_t WorkspaceFloats(const ChunkShape& shape, const TableStructure& structure,
                            int64_t tokens);

// Largest |log phi| for which features, their products and sums stay in float32's range.
inline constexpr double kMaxExponent = 45;

// Largest head sizes that the kernels take.
inline constexpr int kMaxHeadSize = 1024;

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNKED_ATTENTION_H_
