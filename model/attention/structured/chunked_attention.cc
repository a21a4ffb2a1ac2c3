#include "model/attention/structured/chunked_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>

#include "model/attention/checkpoint.h"
#include "model/attention/structured/state_scan.h"

namespace longwave::attention {
namespace {

constexpr std::size_t kAlignment = 64 / sizeof(float);

// Rounded up so that consecutive pieces of a workspace stay aligned.
std::size_t Aligned(std::size_t floats) {
  return (floats + kAlignment - 1) / kAlignment * kAlignment;
}

float* AlignedBegin(float* storage) {
  const auto address = reinterpret_cast<std::uintptr_t>(storage);
  return storage + ((64 - address % 64) % 64) / sizeof(float);
}

// Terms that share one state.
struct StateGroup {
  std::vector<FarTerm> terms;
  bool exponential() const { return terms.front().rate != 0.0; }
  bool left() const { return terms.front().begin == -kOpen; }
};

std::vector<StateGroup> GroupTerms(const TableStructure& structure) {
  std::vector<StateGroup> groups;
  StateGroup constants;
  for (const FarTerm& term : structure.terms) {
    if (term.rate == 0.0) {
      constants.terms.push_back(term);
    } else {
      groups.push_back({{term}});
    }
  }
  if (!constants.terms.empty()) groups.insert(groups.begin(), constants);
  return groups;
}

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
  std::size_t phi_k, values, phi_q, out, den, chunk_states, states, total;

  Layout(const ChunkShape& shape, std::size_t groups, int64_t tokens) {
    const std::size_t chunks = static_cast<std::size_t>((tokens + kChunk - 1) / kChunk);
    std::size_t next = 0;
    const auto take = [&next](std::size_t floats) {
      const std::size_t begin = next;
      next += Aligned(floats);
      return begin;
    };
    phi_k = take(chunks * shape.features_pad * kChunk);
    values = take(chunks * kChunk * shape.value_pad);
    // One group is finished chunk by chunk; more groups come back to the same rows.
    const std::size_t kept = groups > 1 ? chunks : 0;
    phi_q = take(kept * kChunk * shape.features_pad);
    out = take(kept * kChunk * shape.value_pad);
    den = take(kept * kChunk);
    const std::size_t state = groups > 0 ? chunks * shape.state_size() : 0;
    chunk_states = take(state);
    states = take(state);
    total = next;
  }
};

// Memory of one thread in one pass: scratch for the kernels and the tiles of one query chunk.
class ThreadTiles {
 public:
  explicit ThreadTiles(const ChunkShape& shape)
      : storage_(Aligned(shape.scratch_size()) +
                 kChunk * (shape.features_pad + shape.value_pad + 1) + kAlignment) {
    scratch = AlignedBegin(storage_.data());
    phi_q = scratch + Aligned(shape.scratch_size());
    out = phi_q + kChunk * shape.features_pad;
    den = out + kChunk * shape.value_pad;
  }
  float* scratch;
  float* phi_q;
  float* out;
  float* den;

 private:
  std::vector<float> storage_;
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
        groups_(GroupTerms(head.structure())),
        layout_(shape, groups_.size(), input.tokens),
        base_(workspace.Get(layout_.total)),
        chunks_((input.tokens + kChunk - 1) / kChunk),
        factors_(ValueFactors()),
        smallest_(1e7F * 1e-36F * static_cast<float>(input.tokens) *
                  static_cast<float>(shape.features)) {}

  bool Run() {
    KeysAndValues();
    if (!groups_.empty()) States(groups_[0]);
    Queries();
    for (std::size_t group = 1; group < groups_.size(); ++group) {
      States(groups_[group]);
      AddGroup(groups_[group]);
    }
    if (groups_.size() > 1) Finish();
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
  float* PhiQ(int64_t chunk) const {
    return base_ + layout_.phi_q + chunk * kChunk * shape_.features_pad;
  }
  float* Out(int64_t chunk) const {
    return base_ + layout_.out + chunk * kChunk * shape_.value_pad;
  }
  float* Den(int64_t chunk) const { return base_ + layout_.den + chunk * kChunk; }
  float* ChunkStateAt(int64_t chunk) const {
    return base_ + layout_.chunk_states + chunk * shape_.state_size();
  }
  float* StateAt(int64_t chunk) const {
    return base_ + layout_.states + chunk * shape_.state_size();
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

  void KeysAndValues() {
    For(threading_, chunks_, 8, [&](int64_t begin, int64_t end) {
      ThreadTiles tiles(shape_);
      for (int64_t c = begin; c < end; ++c) {
        KeyFeatures(shape_, scale_, Key(c), input_.k_stride, Rows(c), projection_.rows(),
                    tiles.scratch, PhiK(c));
        PackValues(shape_, input_.v + c * kChunk * input_.v_stride, input_.v_stride, Rows(c),
                   factors_.data(), Values(c));
      }
    });
  }

  void States(const StateGroup& group) {
    std::vector<float> decay(kChunk);
    if (group.exponential())
      for (int j = 0; j < kChunk; ++j)
        decay[j] = static_cast<float>(
            std::exp(-group.terms[0].rate * (group.left() ? kChunk - 1 - j : j)));
    For(threading_, chunks_, 8, [&](int64_t begin, int64_t end) {
      ThreadTiles tiles(shape_);
      for (int64_t c = begin; c < end; ++c)
        ChunkState(shape_, PhiK(c), Values(c), group.exponential() ? decay.data() : nullptr,
                   tiles.scratch, ChunkStateAt(c));
    });
    const int64_t size = static_cast<int64_t>(shape_.state_size());
    For(threading_, size, 512, [&](int64_t begin, int64_t end) {
      // Pieces that stay in the first-level cache, with their float64 sums.
      for (int64_t piece = begin; piece < end; piece += 512) {
        const int64_t stop = std::min(end, piece + 512);
        if (group.exponential()) {
          ScanExponential(ChunkStateAt(0), StateAt(0), chunks_, size, group.terms[0], piece, stop);
        } else {
          ScanConstants(ChunkStateAt(0), StateAt(0), chunks_, size, group.terms, piece, stop);
        }
      }
    });
  }

  // The factor of each query row that goes with ScanExponential's decay of keys; empty for
  // constants.
  std::vector<float> RowFactors(const StateGroup& group) const {
    std::vector<float> factor;
    if (!group.exponential()) return factor;
    for (int i = 0; i < kChunk; ++i)
      factor.push_back(
          static_cast<float>(std::exp(-group.terms[0].rate * (group.left() ? i : kChunk - 1 - i))));
    return factor;
  }

  // Direct tiles, the first group, and, if there is no other, the division.
  void Queries() {
    const bool last = groups_.size() <= 1;
    const std::vector<float> factor =
        groups_.empty() ? std::vector<float>() : RowFactors(groups_[0]);
    For(threading_, chunks_, 4, [&](int64_t begin, int64_t end) {
      ThreadTiles tiles(shape_);
      for (int64_t c = begin; c < end; ++c) {
        float* phi_q = last ? tiles.phi_q : PhiQ(c);
        float* out = last ? tiles.out : Out(c);
        float* den = last ? tiles.den : Den(c);
        QueryFeatures(shape_, scale_, input_.q + c * kChunk * input_.q_stride, input_.q_stride,
                      Rows(c), projection_.columns(), tiles.scratch, phi_q);
        std::fill(out, out + kChunk * shape_.value_pad, 0.0F);
        std::fill(den, den + kChunk, 0.0F);
        DirectTiles(c, phi_q, tiles.scratch, out, den);
        if (!groups_.empty())
          FarProduct(shape_, phi_q, StateAt(c), factor.empty() ? nullptr : factor.data(), out, den);
        if (last) Write(c, out, den);
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

  void AddGroup(const StateGroup& group) {
    const std::vector<float> factor = RowFactors(group);
    For(threading_, chunks_, 8, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c)
        FarProduct(shape_, PhiQ(c), StateAt(c), factor.empty() ? nullptr : factor.data(), Out(c),
                   Den(c));
    });
  }

  void Finish() {
    For(threading_, chunks_, 32, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) Write(c, Out(c), Den(c));
    });
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
  const std::vector<StateGroup> groups_;
  const Layout layout_;
  float* const base_;
  const int64_t chunks_;
  const std::vector<float> factors_;
  // What products below float32's range can amount to, ten million times over.
  const float smallest_;
  std::atomic<bool> failed_{false};
};

}  // namespace

PaddedProjection::PaddedProjection(const ChunkShape& shape, const float* w)
    : storage_(2 * static_cast<std::size_t>(shape.features_pad) * shape.dim_pad + kAlignment,
               0.0F) {
  rows_ = AlignedBegin(storage_.data());
  columns_ = rows_ + static_cast<std::size_t>(shape.features_pad) * shape.dim_pad;
  for (int f = 0; f < shape.features; ++f)
    for (int e = 0; e < shape.dim; ++e) {
      rows_[f * shape.dim_pad + e] = w[f * shape.dim + e];
      columns_[e * shape.features_pad + f] = w[f * shape.dim + e];
    }
}

float* Workspace::Get(std::size_t floats) {
  if (size_ < floats + kAlignment) {
    storage_.reset();  // free first: both might not fit
    size_ = floats + kAlignment;
    storage_ = std::make_unique_for_overwrite<float[]>(size_);
  }
  return AlignedBegin(storage_.get());
}

bool ChunkedAttention(const ChunkShape& shape, float scale, const PaddedProjection& projection,
                      const PreparedHead& head, const HeadInput& input, Threading threading,
                      Workspace& workspace) {
  if (input.tokens == 0) return true;
  return Passes(shape, scale, projection, head, input, threading, workspace).Run();
}

std::size_t WorkspaceFloats(const ChunkShape& shape, const TableStructure& structure,
                            int64_t tokens) {
  return Layout(shape, static_cast<std::size_t>(structure.StateGroups()), tokens).total;
}

}  // namespace longwave::attention
