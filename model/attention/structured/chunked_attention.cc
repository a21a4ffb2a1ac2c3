#include "model/attention/structured/chunked_attention.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "model/attention/structured/aligned.h"
#include "model/attention/structured/far_field.h"
#include "model/attention/structured/state_scan.h"

namespace longwave::attention {
namespace {

// Chunks that a thread scans between two checkpoints, over all of its pieces.
constexpr int64_t kScanStep = 4096;

// Sequences of more chunks make the features of their keys a second time rather than keep them: 11%
// more work for half of the memory.
constexpr int64_t kKeptChunks = 2048;

// The farthest direct tile of a sequence of so many chunks.
int64_t Reach(const TableStructure& structure, int64_t chunks) {
  int64_t reach = 0;
  for (const int64_t offset : structure.direct)
    if (std::abs(offset) < chunks) reach = std::max(reach, std::abs(offset));
  return reach;
}

bool KeepsKeys(const TableStructure& structure, int64_t chunks) {
  return chunks <= kKeptChunks || 4 * Reach(structure, chunks) > kKeptChunks;
}

// Where a head's arrays lie in its workspace.
struct Layout {
  std::size_t phi_k, values, states, total;

  Layout(const ChunkShape& shape, const TableStructure& structure, int64_t tokens) {
    const std::size_t chunks = static_cast<std::size_t>((tokens + kChunk - 1) / kChunk);
    const std::size_t kept = KeepsKeys(structure, static_cast<int64_t>(chunks)) ? chunks : 0;
    std::size_t next = 0;
    const auto take = [&next](std::size_t floats) {
      const std::size_t begin = next;
      next += Aligned(floats);
      return begin;
    };
    phi_k = take(kept * shape.features_pad * kChunk);
    values = take(kept * kChunk * shape.value_pad);
    states = take(chunks * static_cast<std::size_t>(structure.States(tokens)) * shape.state_size());
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

// Features and values of the key chunks around a query chunk that moves on.
class KeyWindow {
 public:
  KeyWindow(const ChunkShape& shape, int64_t reach)
      : phi_size_(static_cast<std::size_t>(shape.features_pad) * kChunk),
        size_(phi_size_ + static_cast<std::size_t>(shape.value_pad) * kChunk),
        holds_(2 * reach + 1, -1),
        storage_(holds_.size() * size_) {}

  float* Phi(int64_t chunk) const { return storage_.data() + Slot(chunk) * size_; }
  float* Values(int64_t chunk) const { return Phi(chunk) + phi_size_; }

  // Whether the chunk is missing; the caller then fills it.
  bool Claim(int64_t chunk) { return std::exchange(holds_[Slot(chunk)], chunk) != chunk; }

 private:
  std::size_t Slot(int64_t chunk) const { return static_cast<std::size_t>(chunk) % holds_.size(); }

  const std::size_t phi_size_;
  const std::size_t size_;
  std::vector<int64_t> holds_;
  AlignedFloats storage_;
};

// The passes over one head.
class Passes {
 public:
  Passes(const HeadProblem& problem, const PreparedHead& head)
      : problem_(problem),
        head_(head),
        chunks_((input_.tokens + kChunk - 1) / kChunk),
        far_(head.far_field().Within(chunks_)),
        keeps_keys_(KeepsKeys(head.structure(), chunks_)),
        layout_(shape_, head.structure(), input_.tokens),
        base_(problem.workspace.Get(layout_.total)),
        factors_(ValueFactors(input_, shape_.value_dim)),
        check_(input_.tokens, shape_.features) {}

  bool Run() {
    Keys();
    Scans();
    Queries();
    return check_.passed();
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

  // Of one state, [kChunk]; null where all are 1.
  const float* Factors(const std::vector<float>& factors, int state) const {
    const float* const first = factors.data() + state * kChunk;
    return std::all_of(first, first + kChunk, [](float factor) { return factor == 1.0F; }) ? nullptr
                                                                                           : first;
  }

  void LoadKeys(int64_t c, float* scratch, float* phi, float* values) const {
    KeyFeatures(shape_, problem_.scale, Key(c), input_.k_stride, Rows(c),
                problem_.projection.rows(), scratch, phi);
    PackValues(shape_, input_.v + c * kChunk * input_.v_stride, input_.v_stride, Rows(c),
               factors_.data(), values);
  }

  // A window for a thread; one chunk wide where all keys are kept and nobody uses it.
  KeyWindow MakeWindow() const {
    return KeyWindow(shape_, keeps_keys_ ? 0 : Reach(head_.structure(), chunks_));
  }

  // Features, values and states of the key chunks.
  void Keys() {
    if (far_.states == 0 && !keeps_keys_) return;
    For(problem_.threading, chunks_, 8, [&](int64_t begin, int64_t end) {
      ThreadTiles tiles(shape_);
      const KeyWindow window(shape_, 0);
      for (int64_t c = begin; c < end; ++c) {
        float* const phi = keeps_keys_ ? PhiK(c) : window.Phi(c);
        float* const values = keeps_keys_ ? Values(c) : window.Values(c);
        LoadKeys(c, tiles.scratch, phi, values);
        for (int s = 0; s < far_.states; ++s)
          ChunkState(shape_, phi, values, Factors(far_.key_factors, s), tiles.scratch, State(c, s));
      }
    });
  }

  // Turns the states of the keys into those for the queries.
  void Scans() {
    if (far_.states == 0) return;
    const int64_t size = static_cast<int64_t>(shape_.state_size());
    const int64_t pieces = (size + kScanPiece - 1) / kScanPiece;
    // A piece goes through all chunks.
    For(
        problem_.threading, pieces, 1,
        [&](int64_t begin, int64_t end) {
          ScanStates(far_.scans, far_.states, chunks_, size, begin * kScanPiece,
                     std::min(end * kScanPiece, size), State(0, 0));
        },
        std::max<int64_t>(1, kScanStep / chunks_));
  }

  // Direct tiles, far states and the division.
  void Queries() {
    For(problem_.threading, chunks_, 4, [&](int64_t begin, int64_t end) {
      ThreadTiles tiles(shape_);
      KeyWindow window = MakeWindow();
      for (int64_t c = begin; c < end; ++c) {
        QueryFeatures(shape_, problem_.scale, input_.q + c * kChunk * input_.q_stride,
                      input_.q_stride, Rows(c), problem_.projection.columns(), tiles.scratch,
                      tiles.phi_q);
        std::fill_n(tiles.out, kChunk * shape_.value_pad, 0.0F);
        std::fill_n(tiles.den, kChunk, 0.0F);
        DirectTiles(c, tiles, window);
        for (int s = 0; s < far_.states; ++s)
          FarProduct(shape_, tiles.phi_q, State(c, s), Factors(far_.query_factors, s), tiles.out,
                     tiles.den);
        Write(c, tiles.out, tiles.den);
      }
    });
  }

  void DirectTiles(int64_t c, const ThreadTiles& tiles, KeyWindow& window) const {
    for (const int64_t offset : head_.structure().direct) {
      const int64_t key = c + offset;
      if (key < 0 || key >= chunks_) continue;
      if (!keeps_keys_ && window.Claim(key))
        LoadKeys(key, tiles.scratch, window.Phi(key), window.Values(key));
      NearTile(shape_, tiles.phi_q, keeps_keys_ ? PhiK(key) : window.Phi(key),
               keeps_keys_ ? Values(key) : window.Values(key), head_.Tile(offset), kByDistance,
               tiles.scratch, tiles.out, tiles.den);
    }
  }

  void Write(int64_t c, const float* out, const float* den) {
    const int rows = Rows(c);
    for (int i = 0; i < rows; ++i) check_.Add(den[i]);
    Divide(shape_, out, den, factors_.data(), rows, input_.out + c * kChunk * input_.out_stride,
           input_.out_stride);
  }

  const HeadProblem problem_;
  const ChunkShape& shape_ = problem_.shape;
  const HeadInput& input_ = problem_.input;
  const PreparedHead& head_;
  const int64_t chunks_;
  const FarField far_;
  const bool keeps_keys_;
  const Layout layout_;
  float* const base_;
  const std::vector<float> factors_;
  DenominatorCheck check_;
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

std::vector<float> ValueFactors(const HeadInput& input, int value_dim) {
  std::vector<float> largest(value_dim, 0.0F);
  for (int64_t i = 0; i < input.tokens; ++i) {
    const float* row = input.v + i * input.v_stride;
    for (int e = 0; e < value_dim; ++e) largest[e] = std::max(largest[e], std::abs(row[e]));
  }
  for (float& value : largest) {
    int exponent = 0;
    if (std::isfinite(value)) std::frexp(value, &exponent);
    value = std::ldexp(1.0F, std::clamp(-exponent, -126, 126));
  }
  return largest;
}

// The least denominator: what products below float32's range can amount to, ten million times over.
DenominatorCheck::DenominatorCheck(int64_t tokens, int features)
    : smallest_(1e7F * 1e-36F * static_cast<float>(tokens) * static_cast<float>(features)) {}

float* Workspace::Get(std::size_t floats) {
  if (size_ < floats) {
    storage_.reset();  // free first: both might not fit
    storage_.emplace(floats);
    size_ = floats;
  }
  return storage_ ? storage_->data() : nullptr;
}

bool ChunkedAttention(const HeadProblem& problem, const PreparedHead& head) {
  if (problem.input.tokens == 0) return true;
  return Passes(problem, head).Run();
}

std::size_t WorkspaceFloats(const ChunkShape& shape, const TableStructure& structure,
                            int64_t tokens) {
  return Layout(shape, structure, tokens).total;
}

}  // namespace longwave::attention
