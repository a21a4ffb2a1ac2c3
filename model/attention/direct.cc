#include "model/attention/direct.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "model/attention/algorithm.h"
#include "model/attention/checkpoint.h"
#include "model/attention/gemm.h"
#include "model/attention/reference.h"

namespace longwave::attention {
namespace {

constexpr int64_t kRows = DirectTile::kRows;
constexpr int64_t kKeys = DirectTile::kKeys;

// A float32 sum of n equal products drifts with n, by 4e-6 over 256 keys. So each product with the
// values takes this many keys, and what it gives is added up in float32 for so many tiles, and
// those sums in float64: the error does not grow with the sequence.
constexpr int64_t kKeysPerSum = 64;
constexpr int64_t kTilesPerSum = 8;

// Keys that a thread meets with such rows between two checkpoints.
constexpr int64_t kStepKeys = 16384;

// Calls fn(task) for tasks [0, count) on the threads of at::parallel_for; a free thread takes the
// next task. A checkpoint follows whenever every thread may have done `step` tasks.
template <typename Fn>
void ForEachTask(int64_t count, int64_t step, const Fn& fn) {
  std::atomic<int64_t> next{0};
  const int64_t threads = at::get_num_threads();
  for (int64_t begin = 0; begin < count;) {
    const int64_t end = HasCheckpoint() ? std::min(begin + step * threads, count) : count;
    at::parallel_for(0, std::min(threads, end - begin), 1, [&](int64_t, int64_t) {
      for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < end;) fn(task);
    });
    next = end;
    begin = end;
    Checkpoint();
  }
}

// One row set, its pointers and weights ready. The tensors of the piece are float32 and contiguous.
struct Job {
  Job(const Piece& piece, RowSet row_set)
      : set(std::move(row_set)),
        length(set.sequence.length),
        feature_dim(piece.phi.q.size(2)),
        value_dim(piece.values.size(2)) {
    const int64_t row = set.head * piece.values.size(1) + piece.Offset(set.sequence);
    queries = piece.phi.q.const_data_ptr<float>() + row * feature_dim;
    keys = piece.phi.k.const_data_ptr<float>() + row * feature_dim;
    values = piece.values.const_data_ptr<float>() + row * value_dim;
    out = piece.out.mutable_data_ptr<float>() + row * value_dim;
  }

  // The weights, the keys' panels and the order of the rows.
  void Prepare(const PositionBias& bias, int64_t head) {
    pairs = bias.Pairs(head, length);
    std::stable_sort(set.rows.begin(), set.rows.end(),
                     [&](int64_t a, int64_t b) { return pairs->Shift(a) > pairs->Shift(b); });
    const int64_t tiles = (length + kKeys - 1) / kKeys;
    panels = std::make_unique_for_overwrite<float[]>(tiles * feature_dim * kKeys);
    for (int64_t j = 0; j < length; ++j) {
      float* const column = &panels[j / kKeys * feature_dim * kKeys + j % kKeys];
      for (int64_t f = 0; f < feature_dim; ++f) column[f * kKeys] = keys[j * feature_dim + f];
    }
  }

  RowSet set;
  int64_t length;
  int64_t feature_dim;
  int64_t value_dim;
  const float* queries;  // [length, feature_dim]
  const float* keys;     // [length, feature_dim]
  const float* values;   // [length, value_dim]
  float* out;            // [length, value_dim]
  std::unique_ptr<PairWeights> pairs;
  std::unique_ptr<float[]> panels;  // keys by tiles, each [feature_dim, kKeys]
};

// Rows [begin, end) of a job's set, which have one shift.
struct Block {
  Job* job;
  int64_t begin;
  int64_t end;
};

void AppendBlocks(Job& job, std::vector<Block>& blocks) {
  const std::vector<int64_t>& rows = job.set.rows;
  const int64_t count = static_cast<int64_t>(rows.size());
  for (int64_t begin = 0; begin < count;) {
    const double shift = job.pairs->Shift(rows[begin]);
    int64_t end = begin + 1;
    while (end < count && end - begin < kRows && job.pairs->Shift(rows[end]) == shift) ++end;
    blocks.push_back({&job, begin, end});
    begin = end;
  }
}

// A block's rows while keys are added up.
class BlockSolver {
 public:
  explicit BlockSolver(const Block& block)
      : job_(*block.job),
        rows_(&job_.set.rows[block.begin]),
        count_(block.end - block.begin),
        queries_(count_ * job_.feature_dim),
        scores_(count_ * kKeys),
        product_(count_ * job_.value_dim),
        sums_(count_ * job_.value_dim),
        totals_(count_ * job_.value_dim),
        denominators_(count_) {
    const auto [first, last] = std::minmax_element(rows_, rows_ + count_);
    first_ = *first;
    last_ = *last;
    const double shift = job_.pairs->Shift(rows_[0]);
    if (shift != job_.pairs->shared_table().shift) own_ = job_.pairs->Table(shift);
    for (int64_t r = 0; r < count_; ++r) {
      std::copy_n(job_.queries + rows_[r] * job_.feature_dim, job_.feature_dim,
                  &queries_[r * job_.feature_dim]);
    }
  }

  // Adds what keys [begin, end) of the sequence give. begin: a multiple of kKeys.
  void AddKeys(int64_t begin, int64_t end) {
    const WeightTable& table = own_.has_value() ? *own_ : job_.pairs->shared_table();
    for (end = std::min(end, job_.length); begin < end; begin += kKeys) {
      const int64_t keys = std::min(kKeys, end - begin);
      if (job_.pairs->AllZero(table, first_, last_, begin, begin + keys)) continue;
      const bool full = count_ == kRows && keys == kKeys;
      TileProduct(count_, keys, job_.feature_dim, {queries_.data(), job_.feature_dim},
                  {&job_.panels[begin * job_.feature_dim], kKeys}, {scores_.data(), kKeys},
                  /*accumulate=*/false, full);
      for (int64_t r = 0; r < count_; ++r) {
        denominators_[r] += job_.pairs->Multiply(table, rows_[r], begin, keys, &scores_[r * kKeys]);
      }
      for (int64_t k = 0; k < keys; k += kKeysPerSum) {
        TileProduct(count_, job_.value_dim, std::min(kKeysPerSum, keys - k), {&scores_[k], kKeys},
                    {job_.values + (begin + k) * job_.value_dim, job_.value_dim},
                    {product_.data(), job_.value_dim}, /*accumulate=*/false, full);
        for (size_t i = 0; i < sums_.size(); ++i) sums_[i] += product_[i];
      }
      if (++summed_ == kTilesPerSum) AddToTotals();
    }
  }

  // Writes the rows once all keys have been added; returns those whose denominator is too small for
  // float32.
  std::vector<int64_t> Finish() {
    if (summed_ > 0) AddToTotals();
    // Products below float32's range are lost: at most this much in all, ten million times over.
    const double tiny = 1e7 * std::numeric_limits<float>::min() *
                        static_cast<double>(job_.length * job_.feature_dim);
    std::vector<int64_t> lost;
    for (int64_t r = 0; r < count_; ++r) {
      if (std::abs(denominators_[r]) < tiny) lost.push_back(rows_[r]);
      const double inverse = 1 / denominators_[r];
      const double* const total = &totals_[r * job_.value_dim];
      float* const out = job_.out + rows_[r] * job_.value_dim;
      for (int64_t e = 0; e < job_.value_dim; ++e) out[e] = static_cast<float>(total[e] * inverse);
    }
    return lost;
  }

  // Keys of the sequence.
  int64_t length() const { return job_.length; }

 private:
  void AddToTotals() {
    for (size_t i = 0; i < totals_.size(); ++i) totals_[i] += sums_[i];
    std::fill(sums_.begin(), sums_.end(), 0.0F);
    summed_ = 0;
  }

  const Job& job_;
  const int64_t* const rows_;
  const int64_t count_;
  int64_t first_, last_;            // the rows lie between these
  std::optional<WeightTable> own_;  // where the rows do not share the job's
  std::vector<float> queries_, scores_, product_;
  std::vector<float> sums_;     // over the last summed_ tiles
  std::vector<double> totals_;  // over all tiles before
  std::vector<double> denominators_;
  int64_t summed_ = 0;  // tiles
};

// Solves the blocks; returns for each its rows whose denominator is too small for float32. Where
// the caller wants to be let in, all threads stop after kStepKeys keys, be it within a block.
std::vector<std::vector<int64_t>> SolveBlocks(const std::vector<Block>& blocks) {
  const auto count = static_cast<int64_t>(blocks.size());
  std::vector<std::vector<int64_t>> lost(blocks.size());
  int64_t longest = 1;
  for (const Block& block : blocks) longest = std::max(longest, block.job->length);
  if (!HasCheckpoint() || longest <= kStepKeys) {
    ForEachTask(count, std::max<int64_t>(1, kStepKeys / longest), [&](int64_t task) {
      BlockSolver solver(blocks[task]);
      solver.AddKeys(0, solver.length());
      lost[task] = solver.Finish();
    });
    return lost;
  }
  const int64_t threads = at::get_num_threads();
  for (int64_t begin = 0; begin < count; begin += threads) {
    const int64_t size = std::min(threads, count - begin);
    std::vector<std::optional<BlockSolver>> solvers(size);
    for (int64_t key = 0; key < longest; key += kStepKeys) {
      at::parallel_for(0, size, 1, [&](int64_t first, int64_t last) {
        for (int64_t t = first; t < last; ++t) {
          if (key == 0) solvers[t].emplace(blocks[begin + t]);
          solvers[t]->AddKeys(key, key + kStepKeys);
          if (key + kStepKeys >= longest) lost[begin + t] = solvers[t]->Finish();
        }
      });
      Checkpoint();
    }
  }
  return lost;
}

void SolveInFloat64(const Piece& piece, const Job& job, const std::vector<int64_t>& rows) {
  const at::Tensor exact = ReferenceRows(*piece.part.problem, job.set.sequence,
                                         piece.part.head_begin + job.set.head, rows);
  for (size_t r = 0; r < rows.size(); ++r) {
    const double* const row = exact.const_data_ptr<double>() + r * job.value_dim;
    std::copy_n(row, job.value_dim, job.out + rows[r] * job.value_dim);
  }
}

class DirectAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "direct"; }

  bool Serves(FeatureMap) const override { return true; }

  Estimate Predict(const Shape& shape) const override {
    // Errors up to 1.5e-6 were measured, of tokens that are all equal, here with a margin of two.
    const double n = static_cast<double>(shape.length);
    const double pairs = n * n * shape.bias->ShareOfTiles(shape.head, shape.length);
    const double flop = 2 * pairs * static_cast<double>(shape.feature_dim + shape.value_dim);
    const double ms = shape.costs->direct_ps_per_flop * 1e-9 * flop +
                      shape.costs->direct_ns_per_row * 1e-6 * n;
    // Panels of keys, the order of the rows, their maxima and the weights; of each thread a tile and
    // weights for rows of another shift. Weights are up to 4 a token, beside their counts or not.
    const int64_t tokens = shape.length;
    const int64_t panels = (tokens + kKeys - 1) / kKeys * kKeys * shape.feature_dim;
    const int64_t tile = kRows * (shape.feature_dim + kKeys + 4 * shape.value_dim);
    const int64_t floats = panels + 8 * tokens + shape.threads * (tile + 4 * tokens);
    return {ms / shape.threads, 3e-6, floats * int64_t{sizeof(float)}};
  }

  void Run(const Part& part, OnDoubt) const override {
    ForEachPiece(part, [](const Piece& piece) {
      std::vector<RowSet> sets;
      for (const Sequence& sequence : piece.part.sequences) {
        std::vector<int64_t> rows(sequence.length);
        std::iota(rows.begin(), rows.end(), 0);
        for (int64_t head = 0; head < piece.values.size(0); ++head) {
          sets.push_back({sequence, head, rows});
        }
      }
      SolveDirectly(piece, std::move(sets));
      piece.Store();
    });
  }
};

}  // namespace

void SolveDirectly(const Piece& piece, std::vector<RowSet> sets) {
  std::vector<Job> jobs;
  jobs.reserve(sets.size());
  for (RowSet& set : sets) {
    if (!set.rows.empty()) jobs.emplace_back(piece, std::move(set));
  }
  ForEachTask(static_cast<int64_t>(jobs.size()), /*step=*/1, [&](int64_t task) {
    Job& job = jobs[task];
    job.Prepare(*piece.part.problem->bias, piece.part.head_begin + job.set.head);
  });
  std::vector<Block> blocks;
  for (Job& job : jobs) AppendBlocks(job, blocks);
  const std::vector<std::vector<int64_t>> lost = SolveBlocks(blocks);
  for (size_t b = 0; b < blocks.size();) {
    const Job* const job = blocks[b].job;
    std::vector<int64_t> rows;
    for (; b < blocks.size() && blocks[b].job == job; ++b) {
      rows.insert(rows.end(), lost[b].begin(), lost[b].end());
    }
    if (!rows.empty()) SolveInFloat64(piece, *job, rows);
    Checkpoint();
  }
}

const Algorithm& Direct() {
  static const DirectAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention
