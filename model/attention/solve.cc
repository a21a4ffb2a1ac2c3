#include "model/attention/solve.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "model/attention/algorithm.h"
#include "model/attention/device_cache.h"
#include "model/attention/planner.h"

namespace longwave::attention {
namespace {

Shape BaseShape(const Problem& problem) {
  Shape base;
  base.dim = problem.q.size(2);
  base.feature_dim = problem.feature_dim();
  base.value_dim = problem.v.size(2);
  base.map = problem.features.map;
  base.causal = problem.bias->causal();
  base.threads = at::get_num_threads();
  base.bias = problem.bias;
  base.device = problem.q.device().type();
  base.dtype = problem.q.scalar_type();
  base.units = problem.heads() * static_cast<int64_t>(problem.sequences.size());
  const auto& [map, normalize, scale] = problem.features;
  base.range = problem.q.is_cpu() ? FeatureRange::Of(problem.projection, normalize, scale)
                                  : FeatureRange::Typical(base.dim, normalize, scale);
  base.tolerance = problem.tolerance;
  base.workspace_limit = problem.workspace_bytes;
  return base;
}

// The algorithm of every head.
using Assignment = std::vector<const Algorithm*>;

// Neighbouring heads of one algorithm are solved together.
void SolveAssigned(Part part, const Assignment& assignment) {
  const int64_t heads = static_cast<int64_t>(assignment.size());
  for (part.head_begin = 0; part.head_begin < heads; part.head_begin = part.head_end) {
    const Algorithm* const algorithm = assignment[part.head_begin];
    part.head_end = part.head_begin + 1;
    while (part.head_end < heads && assignment[part.head_end] == algorithm) ++part.head_end;
    algorithm->Run(part, OnDoubt::kRepair);
  }
}

Assignment Assign(const Problem& problem, Shape shape, int64_t length) {
  Assignment assignment;
  shape.length = length;
  shape.transform_size = problem.bias->TransformSize(length);
  for (const Choice& choice : ChooseHeads(shape, problem.heads(), problem.workspace_bytes)) {
    assignment.push_back(choice.algorithm);
  }
  return assignment;
}

// The assignments of a table on a device. Planning a batch anew in every layer would take the host
// longer than the batch takes the device. Thread-safe.
class AssignmentCache {
 public:
  std::shared_ptr<const Assignment> Get(const Problem& problem, const Shape& shape,
                                        int64_t length) const {
    const Key key{length,          shape.units,
                  shape.dim,       shape.feature_dim,
                  shape.value_dim, problem.workspace_bytes,
                  shape.dtype,     shape.range.exponent,
                  shape.tolerance};
    {
      const std::scoped_lock lock(mutex_);
      if (const auto found = assignments_.find(key); found != assignments_.end()) {
        return found->second;
      }
    }
    auto made = std::make_shared<const Assignment>(Assign(problem, shape, length));
    const std::scoped_lock lock(mutex_);
    if (assignments_.size() >= kMaxAssignments) assignments_.clear();
    assignments_.emplace(key, made);
    return made;
  }

 private:
  static constexpr size_t kMaxAssignments = 4096;

  // Of a shape all that differs between calls with one table.
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, at::ScalarType,
                         double, double>;

  mutable std::mutex mutex_;
  mutable std::map<Key, std::shared_ptr<const Assignment>> assignments_;
};

// The length that is planned for in the place of this one: few of them serve all batches. It is
// never shorter, so errors are bounded by the plan's. Nor does it leave the table, beyond which
// some structures do not hold; a grid's is the only one that there is.
int64_t PlannedLength(const BiasTable& table, int64_t length) {
  constexpr int64_t kStep = 64;
  if (table.grid_width > 0) return length;
  const int64_t table_length = (table.values.size(2) + 1) / 2;
  const int64_t planned = (length + kStep - 1) / kStep * kStep;
  return length <= table_length ? std::min(planned, table_length) : planned;
}

// Lengths that take one assignment are solved together, wherever their sequences lie. The shortest
// range begins at 0 and the longest has no end: a captured graph may be replayed with other
// lengths, up to the longest that it was captured with. Errors are bounded, launches made and
// memory taken for that one; a longer sequence harms no memory, but may be computed in float64 row
// by row, which is slow, and need not keep the tolerance.
void SolveAsPlannedOnDevice(const Problem& problem) {
  Shape base = BaseShape(problem);
  const auto sequences =
      std::count_if(problem.sequences.begin(), problem.sequences.end(),
                    [](const Sequence& sequence) { return sequence.length > 0; });
  base.units =
      problem.heads() * static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(sequences)));
  const BiasTable table = problem.bias->Table();
  const auto cache = problem.bias->device_cache().Get<AssignmentCache>(
      problem.q.device().index(), [] { return std::make_shared<const AssignmentCache>(); });
  // The shortest of those that are planned alike.
  std::map<int64_t, int64_t> shortest;
  for (const Sequence& sequence : problem.sequences) {
    if (sequence.length == 0) continue;
    const auto [entry, inserted] =
        shortest.try_emplace(PlannedLength(table, sequence.length), sequence.length);
    if (!inserted) entry->second = std::min(entry->second, sequence.length);
  }
  Part part{&problem, {}, 0, 0};
  std::shared_ptr<const Assignment> current;
  for (const auto& [planned, length] : shortest) {
    std::shared_ptr<const Assignment> assignment = cache->Get(problem, base, planned);
    if (current != nullptr && *assignment != *current) {
      part.max_length = length - 1;
      SolveAssigned(part, *current);
      part.min_length = length;
      part.max_length = std::numeric_limits<int64_t>::max();
    }
    current = std::move(assignment);
  }
  SolveAssigned(part, *current);
}

// Neighbouring sequences of one assignment are solved together.
void SolveAsPlanned(const Problem& problem) {
  const Shape base = BaseShape(problem);
  std::unordered_map<int64_t, Assignment> by_length;
  const auto assignment_of = [&](int64_t length) -> const Assignment& {
    Assignment& assignment = by_length[length];
    if (assignment.empty()) assignment = Assign(problem, base, length);
    return assignment;
  };
  Part part{&problem, {}, 0, 0};
  Assignment current;
  const auto flush = [&] {
    if (!part.sequences.empty()) SolveAssigned(part, current);
    part.sequences.clear();
  };
  for (const Sequence& sequence : problem.sequences) {
    if (sequence.length == 0) continue;  // any algorithm does
    const Assignment& assignment = assignment_of(sequence.length);
    if (assignment != current) flush();
    current = assignment;
    part.sequences.push_back(sequence);
  }
  flush();
}

// Raises where a forced algorithm would miss the tolerance or the limit of the workspace.
void CheckForced(const Problem& problem, const Algorithm& algorithm) {
  Shape shape = BaseShape(problem);
  std::unordered_set<int64_t> lengths;
  for (const Sequence& sequence : problem.sequences) {
    if (sequence.length == 0 || !lengths.insert(sequence.length).second) continue;
    shape.length = sequence.length;
    shape.transform_size = problem.bias->TransformSize(sequence.length);
    for (shape.head = 0; shape.head < problem.heads(); ++shape.head) {
      const std::optional<std::string> why = algorithm.WhyNot(shape);
      TORCH_CHECK_VALUE(!why.has_value(), "algorithm: \"", algorithm.name(), "\" ",
                        why.value_or(""), " for head ", shape.head, " and ", shape.length,
                        " tokens. Expected algorithm \"auto\" or \"direct\"");
      if (problem.workspace_bytes == 0 || algorithm.name() == "reference") continue;
      const int64_t needed = algorithm.Predict(shape).workspace_bytes;
      TORCH_CHECK_VALUE(needed <= problem.workspace_bytes, "workspace_bytes: found ",
                        problem.workspace_bytes, ", expected ", needed, " or more for algorithm \"",
                        algorithm.name(), "\", head ", shape.head, " and ", shape.length,
                        " tokens");
    }
  }
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
  const at::DeviceType device = problem.q.device().type();
  const bool wide = problem.q.scalar_type() == at::kDouble;
  const Algorithm* const forced =
      algorithm != "auto" || wide
          ? &FindAlgorithm(device, wide && algorithm == "auto" ? "reference" : algorithm)
          : nullptr;
  TORCH_CHECK_TYPE(!wide || forced->name() == "reference",
                   "q: found dtype Double, expected Float, BFloat16 or ", "Half for algorithm \"",
                   algorithm, "\" (\"reference\" takes Double)");
  if (problem.out.numel() == 0) return;
  // Nothing is differentiated: skip autograd, also for tensors made under inference mode.
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (forced == nullptr) {
    problem.q.is_cpu() ? SolveAsPlanned(problem) : SolveAsPlannedOnDevice(problem);
  } else {
    CheckForced(problem, *forced);
    forced->Run({&problem, problem.sequences, 0, problem.heads()}, OnDoubt::kRaise);
  }
}

}  // namespace longwave::attention
