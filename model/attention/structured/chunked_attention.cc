#include "model/attention/structured/chunked_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>

#include "model/attention/checkpoint.h"
#include "model/attention/structured/aligned.h"
#include "model/attention/structured/far_field.h"
#include "model/attention/structured/state_scan.h"

namespace longwave::attention {
namespace {

// What a thread does between two checkpoints: a fraction of a model's pass over 512 tokens.
constexpr int64_t kStepPerThread = 64;

void For(Threading threading, int64_t count, int64_t grain,
         const std::function<void(int64_t, int64_t)>& body) {
  if (threading == Threading::kSerial) {
    body(0, count);
    return;
  }
  const int64_t step =
      HasCheckpoint() ? std::max(grain, kStepPerThread) * at::get_num_threads() : count;
  for (int64_t begin = 0; begin < count; begin += step) {
    at::parallel_for(begin, std::min(begin + step, count), grain, body);
    Checkpoint();
  }
}

// Where a head's arrays lie in its workspace.
struct Layout {
  std::size_t phi_k, values, states, total;

  Layout(const ChunkShape& shape, int64_t states_per_chunk, int64_t tokens) {
    const std::size_t chunks = static_cast<std::size_t>((tokens + kChunk - 1) / kChunk);
    std::size_t next = 0;
    const auto take = [&next](std::size_t floats) {
      const std::size_t begin = next;
      next += Aligned(floats);
      return begin;
    };
    phi_k = take(chunks * shape.features_pad * kChunk);
    values = take(chunks * kChunk * shape.value_pad);
    states = take(chunks * states_per_chunk * shape.state_size());
    total = next;
  }
};

// Memory of one thread in one pass: scratch for the kernels and the tiles of one query chunk.
class ThreadTiles {
 public:
  explicit ThreadTiles(const ChunkShape& shape)
      : storage_(Aligned(shape.scratch_size()) +
                 kChunk * (shape.features_pad + shape.value_pad + 1)) {
    scratch = storage_.data();
    phi_q = scratch + Aligned(shape.scratch_size());
    out = phi_q + kChunk * shape.features_pad;
    den = out + kChunk * shape.value_pad;
  }
  float* scratch;
  float* phi_q;
  float* out;
  float* den;

 private:
  AlignedFloats storage_;
};

// The passes over one head.
class Passes {
 public:
  Passes(const ChunkShape& shape, float scale, const PaddedProjection& projection,
         const PreparedHead& head, const HeadInput& input, Threading threading,
         Workspace& workspace)
      : shape_(shape),
        scale_(scale),
        projection_(projection),
        head_(head),
        input_(input),
        threading_(threading),
        chunks_((input.tokens + kChunk - 1) / kChunk),
        far_(head.far_field().Within(chunks_)),
        layout_(shape, far_.states, input.tokens),
        base_(workspace.Get(layout_.total)),
        factors_(ValueFactors()),
        smallest_(1e7F * 1e-36F * static_cast<float>(input.tokens) *
                  static_cast<float>(shape.features)) {}

  bool Run() {
    Keys();
    Scans();
    Queries();
    return !failed_.load(std::memory_order_relaxed);
  }

 private:
  int Rows(int64_t chunk) const {
    return static_cast<int>(std::min<int64_t>(kChunk, input_.tokens - chunk * kChunk));
  }
  float* PhiK(int64_t chunk) const {
    return base_ + layout_.phi_k + chunk * shape_.features_pad * kChunk;
  }
  float* Values(int64_t chunk) const {
    return base_ + layout_.values + chunk * kChunk * shape_.value_pad;
  }
  float* State(int64_t chunk, int state) const {
    return base_ + layout_.states + (chunk * far_.states + state) * shape_.state_size();
  }
  const float* Key(int64_t chunk) const { return input_.k + chunk * kChunk * input_.k_stride; }

  // By channel, the power of two that brings its largest |v| to about 1: values near the ends of
  // float32's range would be lost in the sums.
  std::vector<float> ValueFactors() const {
    std::vector<float> largest(shape_.value_dim, 0.0F);
    for (int64_t i = 0; i < input_.tokens; ++i) {
      const float* row = input_.v + i * input_.v_stride;
      for (int e = 0; e < shape_.value_dim; ++e)
        largest[e] = std::max(largest[e], std::abs(row[e]));
    }
    for (float& value : largest) {
      int exponent = 0;
      if (std::isfinite(value)) std::frexp(value, &exponent);
      value = std::ldexp(1.0F, std::clamp(-exponent, -126, 126));
    }
    return largest;
  }

  // Features, values and states of the key chunks.
  void Keys() {
    For(threading_, chunks_, 8, [&](int64_t begin, int64_t end) {
      ThreadTiles tiles(shape_);
      for (int64_t c = begin; c < end; ++c) {
        KeyFeatures(shape_, scale_, Key(c), input_.k_stride, Rows(c), projection_.rows(),
                    tiles.scratch, PhiK(c));
        PackValues(shape_, input_.v + c * kChunk * input_.v_stride, input_.v_stride, Rows(c),
                   factors_.data(), Values(c));
        for (int s = 0; s < far_.states; ++s)
          ChunkState(shape_, PhiK(c), Values(c), far_.key_factors.data() + s * kChunk,
                     tiles.scratch, State(c, s));
      }
    });
  }

  // Turns the states of the keys into those for the queries.
  void Scans() {
    if (far_.states == 0) return;
    const int64_t size = static_cast<int64_t>(shape_.state_size());
    const int64_t pieces = (size + kScanPiece - 1) / kScanPiece;
    For(threading_, pieces, 1, [&](int64_t begin, int64_t end) {
      ScanStates(far_.scans, far_.states, chunks_, size, begin * kScanPiece,
                 std::min(end * kScanPiece, size), State(0, 0));
    });
  }

  // Direct tiles, far states and the division.
  void Queries() {
    For(threading_, chunks_, 4, [&](int64_t begin, int64_t end) {
      ThreadTiles tiles(shape_);
      for (int64_t c = begin; c < end; ++c) {
        QueryFeatures(shape_, scale_, input_.q + c * kChunk * input_.q_stride, input_.q_stride,
                      Rows(c), projection_.columns(), tiles.scratch, tiles.phi_q);
        std::fill_n(tiles.out, kChunk * shape_.value_pad, 0.0F);
        std::fill_n(tiles.den, kChunk, 0.0F);
        DirectTiles(c, tiles.phi_q, tiles.scratch, tiles.out, tiles.den);
        for (int s = 0; s < far_.states; ++s)
          FarProduct(shape_, tiles.phi_q, State(c, s), far_.query_factors.data() + s * kChunk,
                     tiles.out, tiles.den);
        Write(c, tiles.out, tiles.den);
      }
    });
  }

  void DirectTiles(int64_t c, const float* phi_q, float* scratch, float* out, float* den) const {
    const auto tile = [&](int64_t key) {
      NearTile(shape_, phi_q, PhiK(key), Values(key), head_.Tile(key - c), scratch, out, den);
    };
    for (const int64_t offset : head_.structure().direct)
      if (c + offset >= 0 && c + offset < chunks_) tile(c + offset);
  }

  void Write(int64_t c, const float* out, const float* den) {
    const int rows = Rows(c);
    for (int i = 0; i < rows; ++i) {
      // NaN fails, too.
      if (!(den[i] >= smallest_ && den[i] <= 1e37F)) failed_.store(true, std::memory_order_relaxed);
    }
    Divide(shape_, out, den, factors_.data(), rows, input_.out + c * kChunk * input_.out_stride,
           input_.out_stride);
  }

  const ChunkShape& shape_;
  const float scale_;
  const PaddedProjection& projection_;
  const PreparedHead& head_;
  const HeadInput& input_;
  const Threading threading_;
  const int64_t chunks_;
  const FarField far_;
  const Layout layout_;
  float* const base_;
  const std::vector<float> factors_;
  // What products below float32's range can amount to, ten million times over.
  const float smallest_;
  std::atomic<bool> failed_{false};
};

}  // namespace

PaddedProjection::PaddedProjection(const ChunkShape& shape, const float* w)
    : storage_(2 * static_cast<std::size_t>(shape.features_pad) * shape.dim_pad) {
  rows_ = storage_.data();
  columns_ = rows_ + static_cast<std::size_t>(shape.features_pad) * shape.dim_pad;
  std::fill(rows_, columns_ + (columns_ - rows_), 0.0F);
  for (int f = 0; f < shape.features; ++f)
    for (int e = 0; e < shape.dim; ++e) {
      rows_[f * shape.dim_pad + e] = w[f * shape.dim + e];
      columns_[e * shape.features_pad + f] = w[f * shape.dim + e];
    }
}

float* Workspace::Get(std::size_t floats) {
  if (size_ < floats) {
    storage_.reset();  // free first: both might not fit
    storage_.emplace(floats);
    size_ = floats;
  }
  return storage_ ? storage_->data() : nullptr;
}

bool ChunkedAttention(const ChunkShape& shape, float scale, const PaddedProjection& projection,
                      const PreparedHead& head, const HeadInput& input, Threading threading,
                      Workspace& workspace) {
  if (input.tokens == 0) return true;
  return Passes(shape, scale, projection, head, input, threading, workspace).Run();
}

std::size_t WorkspaceFloats(const ChunkShape& shape, const TableStructure& structure,
                            int64_t tokens) {
  return Layout(shape, structure.States(tokens), tokens).total;
}

}  // namespace longwave::attention
