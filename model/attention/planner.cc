#include "model/attention/planner.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <sstream>

namespace longwave::attention {
namespace {

void WriteList(std::ostream& out, const std::vector<int64_t>& list) {
  out << '[';
  for (size_t i = 0; i < list.size(); ++i) out << (i == 0 ? "" : ", ") << list[i];
  out << ']';
}

}  // namespace

std::span<const Algorithm* const> Algorithms() {
  static const std::array<const Algorithm*, 3> algorithms = {&Direct(), &Fft(), &Reference()};
  return algorithms;
}

const Algorithm& FindAlgorithm(std::string_view name) {
  std::string known = "\"auto\"";
  for (const Algorithm* algorithm : Algorithms()) {
    if (algorithm->name() == name) return *algorithm;
    known.append(", \"").append(algorithm->name()).append("\"");
  }
  TORCH_CHECK_VALUE(false, "algorithm: found \"", name, "\", expected one of ", known);
}

Choice Choose(const Shape& shape, int64_t workspace_bytes) {
  Choice best;
  std::ostringstream others;
  for (const Algorithm* algorithm : Algorithms()) {
    if (algorithm == &Reference()) continue;  // for comparison only
    if (!algorithm->Serves(shape.map)) {
      others << "; " << algorithm->name() << " needs non-negative features";
      continue;
    }
    const Estimate estimate = algorithm->Predict(shape);
    if (workspace_bytes > 0 && estimate.workspace_bytes > workspace_bytes) {
      others << "; " << algorithm->name() << " needs " << estimate.workspace_bytes << " bytes";
      continue;
    }
    others << "; " << algorithm->name() << " takes " << estimate.milliseconds << " ms";
    if (best.algorithm == nullptr || estimate.milliseconds < best.estimate.milliseconds) {
      best = {algorithm, "", estimate};
    }
  }
  best.reason = "fastest of those that serve a head of " + std::to_string(shape.length) +
                " tokens" + others.str();
  return best;
}

std::vector<PlanGroup> Plan(const Shape& base, const PositionBias& bias, int64_t heads,
                            std::span<const int64_t> lengths, int64_t workspace_bytes) {
  std::vector<PlanGroup> plan;
  for (const int64_t length : lengths) {
    if (length == 0) continue;
    Shape shape = base;
    shape.length = length;
    shape.transform_size = bias.TransformSize(length);
    const Choice choice = Choose(shape, workspace_bytes);
    auto group = std::find_if(plan.begin(), plan.end(), [&](const PlanGroup& candidate) {
      return candidate.algorithm == choice.algorithm;
    });
    if (group == plan.end()) {
      group = plan.insert(plan.end(), {0, heads, {}, choice.algorithm, choice.reason, 0, 0});
    }
    group->lengths.push_back(length);
    group->error_bound = std::max(group->error_bound, choice.estimate.error_bound);
    group->predicted_ms += choice.estimate.milliseconds * static_cast<double>(heads);
  }
  return plan;
}

std::vector<PlanGroup> PlanReference(Shape base, int64_t heads, std::span<const int64_t> lengths) {
  PlanGroup group{0, heads, {}, &Reference(), "the only one that computes in float64", 0, 0};
  for (const int64_t length : lengths) {
    if (length == 0) continue;
    base.length = length;
    const Estimate estimate = Reference().Predict(base);
    group.lengths.push_back(length);
    group.error_bound = estimate.error_bound;
    group.predicted_ms += estimate.milliseconds * static_cast<double>(heads);
  }
  if (group.lengths.empty()) return {};
  return {group};
}

std::string ToJson(const std::vector<PlanGroup>& plan) {
  std::ostringstream out;
  out << "{\"groups\": [";
  for (size_t g = 0; g < plan.size(); ++g) {
    const PlanGroup& group = plan[g];
    std::vector<int64_t> heads(group.head_end - group.head_begin);
    std::iota(heads.begin(), heads.end(), group.head_begin);
    out << (g == 0 ? "" : ", ") << "{\"heads\": ";
    WriteList(out, heads);
    out << ", \"lengths\": ";
    WriteList(out, group.lengths);
    // Names and reasons are ours: nothing in them needs escaping.
    out << ", \"algorithm\": \"" << group.algorithm->name() << "\", \"reason\": \"" << group.reason
        << "\", \"error_bound\": " << group.error_bound
        << ", \"predicted_ms\": " << group.predicted_ms << '}';
  }
  out << "]}";
  return out.str();
}

}  // namespace longwave::attention
