#include "model/attention/planner.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <sstream>
#include <utility>

namespace longwave::attention {
namespace {

void WriteList(std::ostream& out, const std::vector<int64_t>& list) {
  out << '[';
  for (size_t i = 0; i < list.size(); ++i) out << (i == 0 ? "" : ", ") << list[i];
  out << ']';
}

// Written while libraries are loaded, only read afterwards.
std::map<at::DeviceType, std::vector<const Algorithm*>>& Registry() {
  static std::map<at::DeviceType, std::vector<const Algorithm*>> registry = {
      {at::kCPU, {&Structured(), &LowRank(), &Direct(), &Fft(), &Reference()}}};
  return registry;
}

}  // namespace

std::span<const Algorithm* const> Algorithms(at::DeviceType device) {
  const auto found = Registry().find(device);
  if (found == Registry().end()) return {};
  return found->second;
}

void RegisterAlgorithms(at::DeviceType device, std::vector<const Algorithm*> algorithms) {
  Registry()[device] = std::move(algorithms);
}

const Algorithm& FindAlgorithm(at::DeviceType device, std::string_view name) {
  std::string known = "\"auto\"";
  for (const Algorithm* algorithm : Algorithms(device)) {
    if (algorithm->name() == name) return *algorithm;
    known.append(", \"").append(algorithm->name()).append("\"");
  }
  TORCH_CHECK_VALUE(false, "algorithm: found \"", name, "\", expected one of ", known);
}

Choice Choose(const Shape& shape, int64_t workspace_bytes, std::string* reason) {
  Choice best;
  std::ostringstream others;
  const auto note = [&](const Algorithm& algorithm, const auto&... words) {
    if (reason == nullptr) return;
    others << "; " << algorithm.name() << ' ';
    (others << ... << words);
  };
  for (const Algorithm* algorithm : Algorithms(shape.device)) {
    if (algorithm->name() == "reference") continue;  // for comparison only
    if (!algorithm->Serves(shape.map)) {
      note(*algorithm, "needs non-negative features");
      continue;
    }
    if (const std::optional<std::string> why = algorithm->WhyNot(shape)) {
      note(*algorithm, *why);
      continue;
    }
    const Estimate estimate = algorithm->Predict(shape);
    if (workspace_bytes > 0 && estimate.workspace_bytes > workspace_bytes) {
      note(*algorithm, "needs ", estimate.workspace_bytes, " bytes");
      continue;
    }
    note(*algorithm, "takes ", estimate.milliseconds, " ms and errs by at most ",
         estimate.error_bound);
    if (best.algorithm == nullptr || estimate.milliseconds < best.estimate.milliseconds) {
      best = {algorithm, estimate};
    }
  }
  if (reason != nullptr) {
    *reason = "fastest of those that serve a head of " + std::to_string(shape.length) + " tokens" +
              others.str();
  }
  return best;
}

std::vector<PlanGroup> Plan(Shape base, int64_t heads, std::span<const int64_t> lengths,
                            int64_t workspace_bytes) {
  std::vector<PlanGroup> plan;
  for (const int64_t length : lengths) {
    if (length == 0) continue;
    base.length = length;
    base.transform_size = base.bias->TransformSize(length);
    std::vector<PlanGroup> of_length;
    for (base.head = 0; base.head < heads; ++base.head) {
      std::string reason;
      const Choice choice = Choose(base, workspace_bytes, &reason);
      auto group = std::find_if(
          of_length.begin(), of_length.end(),
          [&](const PlanGroup& candidate) { return candidate.algorithm == choice.algorithm; });
      if (group == of_length.end()) {
        group = of_length.insert(of_length.end(),
                                 {{}, {length}, choice.algorithm, std::move(reason), 0, 0});
      }
      group->heads.push_back(base.head);
      group->error_bound = std::max(group->error_bound, choice.estimate.error_bound);
      group->predicted_ms += choice.estimate.milliseconds;
    }
    for (PlanGroup& group : of_length) {
      const auto same = std::find_if(plan.begin(), plan.end(), [&](const PlanGroup& candidate) {
        return candidate.algorithm == group.algorithm && candidate.heads == group.heads;
      });
      if (same == plan.end()) {
        plan.push_back(std::move(group));
        continue;
      }
      same->lengths.push_back(length);
      same->error_bound = std::max(same->error_bound, group.error_bound);
      same->predicted_ms += group.predicted_ms;
    }
  }
  return plan;
}

std::vector<PlanGroup> PlanReference(Shape base, int64_t heads, std::span<const int64_t> lengths) {
  const Algorithm& reference = FindAlgorithm(base.device, "reference");
  PlanGroup group{{}, {}, &reference, "the only one that computes in float64", 0, 0};
  group.heads.resize(heads);
  std::iota(group.heads.begin(), group.heads.end(), 0);
  for (const int64_t length : lengths) {
    if (length == 0) continue;
    base.length = length;
    const Estimate estimate = reference.Predict(base);
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
    out << (g == 0 ? "" : ", ") << "{\"heads\": ";
    WriteList(out, group.heads);
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
