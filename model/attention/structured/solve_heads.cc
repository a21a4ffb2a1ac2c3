#include "model/attention/structured/solve_heads.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "model/attention/checkpoint.h"

namespace longwave::attention {
namespace {

// Sequences of so many chunks may use all threads for one head at a time.
constexpr int64_t kLongChunks = 64;

ChunkShape ShapeOf(const Problem& problem) {
  return ChunkShape::Make(static_cast<int>(problem.q.size(2)),
                          static_cast<int>(problem.projection.size(1)),
                          static_cast<int>(problem.v.size(2)));
}

// A part's tensors in float32, tokens counted from the part's first.
struct FloatTensors {
  explicit FloatTensors(const Part& part) {
    const Problem& problem = *part.problem;
    first = part.sequences.front().begin;
    const int64_t tokens = part.sequences.back().begin + part.sequences.back().length - first;
    const auto take = [&](const at::Tensor& x) {
      return x.narrow(0, first, tokens).to(at::kFloat);
    };
    q = take(problem.q);
    k = take(problem.k);
    v = take(problem.v);
    target = problem.out.narrow(0, first, tokens);
    out = target.scalar_type() == at::kFloat ? target : at::empty(target.sizes(), at::kFloat);
  }

  void Store() const {
    if (!out.is_same(target)) target.copy_(out);
  }

  HeadInput Head(const Sequence& sequence, int64_t head) const {
    const int64_t token = sequence.begin - first;
    const auto row = [&](const at::Tensor& x) {
      return x.mutable_data_ptr<float>() + token * x.stride(0) + head * x.stride(1);
    };
    return {row(q),      row(k),      row(v),        row(out),       q.stride(0),
            k.stride(0), v.stride(0), out.stride(0), sequence.length};
  }

  int64_t first = 0;
  at::Tensor q, k, v, out, target;
};

}  // namespace

void SolveHeads(const Part& part, OnDoubt on_doubt, std::string_view algorithm,
                const SolveHead& solve_head) {
  if (part.sequences.empty()) return;
  const Problem& problem = *part.problem;
  const ChunkShape shape = ShapeOf(problem);
  const float scale = static_cast<float>(problem.features.scale);
  std::vector<PaddedProjection> projections;
  for (int64_t p = 0; p < problem.projection.size(0); ++p)
    projections.emplace_back(shape, problem.projection[p].contiguous().const_data_ptr<float>());
  const FloatTensors tensors(part);

  std::mutex mutex;
  std::vector<std::pair<Sequence, int64_t>> failed;
  const auto solve = [&](const Sequence& sequence, int64_t head, Threading threading,
                         Workspace& workspace) {
    const PaddedProjection& projection = projections[projections.size() == 1 ? 0 : head];
    const HeadInput input = tensors.Head(sequence, head);
    if (solve_head({shape, scale, projection, input, threading, workspace}, head)) return;
    const std::scoped_lock lock(mutex);
    failed.emplace_back(sequence, head);
  };

  // Whole heads to every thread need no barriers; all threads on one head only where heads cannot
  // be shared out evenly, or where the caller wants to be let in before a head is done.
  const int64_t threads = at::get_num_threads();
  const int64_t count =
      static_cast<int64_t>(part.sequences.size()) * (part.head_end - part.head_begin);
  const bool even = !HasCheckpoint() && (count >= 4 * threads || count % threads == 0);
  Workspace shared;
  std::vector<std::pair<Sequence, int64_t>> tasks;
  for (const Sequence& sequence : part.sequences) {
    if (sequence.length == 0) continue;
    const bool is_long = !even && sequence.length >= kLongChunks * kChunk;
    for (int64_t head = part.head_begin; head < part.head_end; ++head) {
      if (is_long) {
        solve(sequence, head, Threading::kParallel, shared);
      } else {
        tasks.emplace_back(sequence, head);
      }
    }
  }
  std::atomic<size_t> next{0};
  at::parallel_for(0, std::min<int64_t>(threads, tasks.size()), 1, [&](int64_t, int64_t) {
    Workspace workspace;
    for (size_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks.size();)
      solve(tasks[task].first, tasks[task].second, Threading::kSerial, workspace);
  });
  tensors.Store();
  if (failed.empty()) return;
  TORCH_CHECK_VALUE(on_doubt == OnDoubt::kRepair, "algorithm: \"", algorithm,
                    "\" found a denominator beyond float32's range in head ", failed.front().second,
                    ". Expected algorithm \"auto\" or \"direct\"");
  for (const auto& [sequence, head] : failed)
    Direct().Run({&problem, {sequence}, head, head + 1}, on_doubt);
}

std::optional<std::string> WhyNotByHead(const Shape& shape) {
  if (shape.map != FeatureMap::kPrf) return "needs non-negative features";
  if (std::max({shape.dim, shape.feature_dim, shape.value_dim}) > kMaxHeadSize)
    return "takes head sizes up to " + std::to_string(kMaxHeadSize);
  if (!(shape.range.exponent <= kMaxExponent)) {
    return "needs normalised tokens and features within exp(+-" +
           std::to_string(static_cast<int>(kMaxExponent)) + ")";
  }
  return std::nullopt;
}

double RoundingByHead(const Shape& shape) {
  // Features err by their exponents: 1e-5 was measured at 130.
  return 5e-7 + 1e-7 * shape.range.exponent;
}

ChunkShape PaddedShape(const Shape& shape) {
  return ChunkShape::Make(static_cast<int>(shape.dim), static_cast<int>(shape.feature_dim),
                          static_cast<int>(shape.value_dim));
}

}  // namespace longwave::attention
