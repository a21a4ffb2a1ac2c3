#include "model/attention/solve.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <unordered_map>

#include "model/attention/algorithm.h"
#include "model/attention/planner.h"

namespace longwave::attention {
namespace {

// The planner's choice by length, for the sequences of one problem.
class Choices {
 public:
  explicit Choices(const Problem& problem) : problem_(problem) {
    base_.feature_dim = problem.feature_dim();
    base_.value_dim = problem.v.size(2);
    base_.map = problem.features.map;
    base_.causal = problem.bias->causal();
    base_.threads = at::get_num_threads();
  }

  // nullptr for an empty sequence: any algorithm does.
  const Algorithm* For(int64_t length) {
    if (length == 0) return nullptr;
    const auto [entry, is_new] = by_length_.try_emplace(length, nullptr);
    if (is_new) {
      base_.length = length;
      base_.transform_size = problem_.bias->TransformSize(length);
      entry->second = Choose(base_, /*workspace_bytes=*/0).algorithm;
    }
    return entry->second;
  }

 private:
  const Problem& problem_;
  Shape base_;
  std::unordered_map<int64_t, const Algorithm*> by_length_;
};

// Neighbours of one algorithm are solved together.
void SolveAsPlanned(const Problem& problem) {
  Choices choices(problem);
  Part part{&problem, {}, 0, problem.heads()};
  const Algorithm* current = nullptr;
  const auto flush = [&] {
    if (current != nullptr) current->Run(part, OnDoubt::kRepair);
    part.sequences.clear();
  };
  for (const Sequence& sequence : problem.sequences) {
    const Algorithm* const algorithm = choices.For(sequence.length);
    if (algorithm == nullptr) continue;
    if (algorithm != current) flush();
    current = algorithm;
    part.sequences.push_back(sequence);
  }
  flush();
}

}  // namespace

double PromisedError(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return 1e-2;
    case at::kHalf:
      return 2e-3;
    default:
      return 1e-5;
  }
}

void Solve(const Problem& problem, std::string_view algorithm) {
  const bool wide = problem.q.scalar_type() == at::kDouble;
  const Algorithm* const forced =
      algorithm != "auto" ? &FindAlgorithm(algorithm) : (wide ? &Reference() : nullptr);
  TORCH_CHECK_TYPE(!wide || forced == &Reference(),
                   "q: found dtype Double, expected Float, BFloat16 or ", "Half for algorithm \"",
                   algorithm, "\" (\"reference\" takes Double)");
  if (problem.out.numel() == 0) return;
  // Nothing is differentiated: skip autograd, also for tensors made under inference mode.
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (forced == nullptr) {
    SolveAsPlanned(problem);
  } else {
    forced->Run({&problem, problem.sequences, 0, problem.heads()}, OnDoubt::kRaise);
  }
}

}  // namespace longwave::attention
