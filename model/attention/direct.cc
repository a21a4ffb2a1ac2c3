#include "model/attention/direct.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "model/attention/algorithm.h"
#include "model/attention/checkpoint.h"
#include "model/attention/gemm.h"
#include "model/attention/reference.h"

namespace longwave::attention {
namespace {

// A tile of scores, kRows x kKeys float32, stays in a core's second-level cache.
constexpr int64_t kRows = 128;
constexpr int64_t kKeys = 256;

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

// Solves a block; returns its rows whose denominator is too small for float32.
std::vector<int64_t> SolveBlock(const Block& block) {
  const Job& job = *block.job;
  const int64_t* const rows = &job.set.rows[block.begin];
  const int64_t count = block.end - block.begin;
  const auto [first, last] = std::minmax_element(rows, rows + count);

  const double shift = job.pairs->Shift(rows[0]);
  WeightTable own;
  const WeightTable* table = &job.pairs->shared_table();
  if (shift != table->shift) {
    own = job.pairs->Table(shift);
    table = &own;
  }

  std::vector<float> queries(count * job.feature_dim), scores(count * kKeys);
  std::vector<float> sums(count * job.value_dim);
  std::vector<double> denominators(count);
  for (int64_t r = 0; r < count; ++r) {
    std::copy_n(job.queries + rows[r] * job.feature_dim, job.feature_dim,
                &queries[r * job.feature_dim]);
  }
  for (int64_t begin = 0; begin < job.length; begin += kKeys) {
    const int64_t keys = std::min(kKeys, job.length - begin);
    if (job.pairs->AllZero(*table, *first, *last, begin, begin + keys)) continue;
    const bool full = count == kRows && keys == kKeys;
    TileProduct(count, keys, job.feature_dim, {queries.data(), job.feature_dim},
                {&job.panels[begin * job.feature_dim], kKeys}, {scores.data(), kKeys},
                /*accumulate=*/false, full);
    for (int64_t r = 0; r < count; ++r) {
      denominators[r] += job.pairs->Multiply(*table, rows[r], begin, keys, &scores[r * kKeys]);
    }
    TileProduct(count, job.value_dim, keys, {scores.data(), kKeys},
                {job.values + begin * job.value_dim, job.value_dim}, {sums.data(), job.value_dim},
                /*accumulate=*/true, full);
  }

  // Products below float32's range are lost: at most this much in all, ten million times over.
  const double tiny =
      1e7 * std::numeric_limits<float>::min() * static_cast<double>(job.length * job.feature_dim);
  std::vector<int64_t> lost;
  for (int64_t r = 0; r < count; ++r) {
    if (std::abs(denominators[r]) < tiny) lost.push_back(rows[r]);
    const float inverse = static_cast<float>(1 / denominators[r]);
    float* const out = job.out + rows[r] * job.value_dim;
    for (int64_t e = 0; e < job.value_dim; ++e) out[e] = sums[r * job.value_dim + e] * inverse;
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
    // Errors up to 6e-7 were measured, here with a margin of five.
    const double n = static_cast<double>(shape.length);
    const double flop = 2 * n * n * static_cast<double>(shape.feature_dim + shape.value_dim);
    const double ms = shape.costs->direct_ps_per_flop * 1e-9 * flop * (shape.causal ? 0.5 : 1) +
                      shape.costs->direct_ns_per_row * 1e-6 * n;
    return {ms / shape.threads, 3e-6, 0};
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
  int64_t longest = 1;
  for (const Job& job : jobs) longest = std::max(longest, job.length);
  ForEachTask(static_cast<int64_t>(jobs.size()), /*step=*/1, [&](int64_t task) {
    Job& job = jobs[task];
    job.Prepare(*piece.part.problem->bias, piece.part.head_begin + job.set.head);
  });
  std::vector<Block> blocks;
  for (Job& job : jobs) AppendBlocks(job, blocks);
  std::vector<std::vector<int64_t>> lost(blocks.size());
  // Blocks of a long sequence are worth a step each.
  ForEachTask(static_cast<int64_t>(blocks.size()), std::max<int64_t>(1, kStepKeys / longest),
              [&](int64_t task) { lost[task] = SolveBlock(blocks[task]); });
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
