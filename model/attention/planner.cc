#include "model/attention/planner.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>
#include <set>
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

// The algorithms that serve a head. reason, when not null, receives what speaks for each or
// against.
std::vector<Choice> Candidates(const Shape& shape, int64_t workspace_bytes, std::string* reason) {
  std::vector<Choice> candidates;
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
    candidates.push_back({algorithm, estimate});
  }
  if (reason != nullptr) {
    *reason = "fastest of those that serve a head of " + std::to_string(shape.length) + " tokens" +
              others.str();
  }
  return candidates;
}

// Of equals the first one; no algorithm where there are no candidates.
Choice Fastest(std::span<const Choice> candidates) {
  Choice best;
  for (const Choice& candidate : candidates) {
    if (best.algorithm == nullptr || candidate.estimate.milliseconds < best.estimate.milliseconds) {
      best = candidate;
    }
  }
  return best;
}

// Milliseconds of all heads and sequences of a call, if those are of one length.
double CallTime(const Shape& shape, std::span<const Choice> heads) {
  const double units = static_cast<double>(shape.units);
  const double sequences = units / static_cast<double>(heads.size());
  double time = 0;
  const Algorithm* previous = nullptr;
  for (const auto& [algorithm, estimate] : heads) {
    time += sequences * (estimate.milliseconds - estimate.call_milliseconds / units);
    if (algorithm != previous) time += estimate.call_milliseconds;
    previous = algorithm;
  }
  return time;
}

// The fastest choice of every head that takes one of the algorithms chosen, but not this one;
// nothing where the algorithm is not chosen, or a head has no other.
std::optional<std::vector<Choice>> Without(const Algorithm& algorithm,
                                           std::span<const Choice> chosen,
                                           std::span<const std::vector<Choice>> candidates) {
  std::set<const Algorithm*> left;
  for (const Choice& choice : chosen) left.insert(choice.algorithm);
  if (left.erase(&algorithm) == 0) return std::nullopt;
  std::vector<Choice> fewer;
  for (const std::vector<Choice>& of_head : candidates) {
    std::vector<Choice> allowed;
    std::copy_if(of_head.begin(), of_head.end(), std::back_inserter(allowed),
                 [&](const Choice& choice) { return left.contains(choice.algorithm); });
    if (allowed.empty()) return std::nullopt;
    fewer.push_back(Fastest(allowed));
  }
  return fewer;
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
  return Fastest(Candidates(shape, workspace_bytes, reason));
}

std::vector<Choice> ChooseHeads(Shape shape, int64_t heads, int64_t workspace_bytes,
                                std::vector<std::string>* reasons) {
  std::vector<std::vector<Choice>> candidates;  // of every head
  std::vector<Choice> chosen;
  for (shape.head = 0; shape.head < heads; ++shape.head) {
    std::string reason;
    candidates.push_back(
        Candidates(shape, workspace_bytes, reasons == nullptr ? nullptr : &reason));
    chosen.push_back(Fastest(candidates.back()));
    if (reasons != nullptr) reasons->push_back(std::move(reason));
  }
  // Does without one algorithm after the other, as long as that is faster.
  for (double time = CallTime(shape, chosen);;) {
    std::vector<Choice> best;
    for (const Algorithm* algorithm : Algorithms(shape.device)) {
      std::optional<std::vector<Choice>> fewer = Without(*algorithm, chosen, candidates);
      if (!fewer.has_value() || CallTime(shape, *fewer) >= time) continue;
      time = CallTime(shape, *fewer);
      best = *std::move(fewer);
    }
    if (best.empty()) return chosen;
    for (int64_t head = 0; head < heads && reasons != nullptr; ++head) {
      if (best[head].algorithm != chosen[head].algorithm) {
        (*reasons)[head] += "; shares the call of other heads";
      }
    }
    chosen = std::move(best);
  }
}

std::vector<PlanGroup> Plan(Shape base, int64_t heads, std::span<const int64_t> lengths,
                            int64_t workspace_bytes) {
  std::vector<PlanGroup> plan;
  for (const int64_t length : lengths) {
    if (length == 0) continue;
    base.length = length;
    base.transform_size = base.bias->TransformSize(length);
    std::vector<PlanGroup> of_length;
    std::vector<std::string> reasons;
    const std::vector<Choice> choices = ChooseHeads(base, heads, workspace_bytes, &reasons);
    for (int64_t head = 0; head < heads; ++head) {
      const Choice& choice = choices[head];
      auto group = std::find_if(
          of_length.begin(), of_length.end(),
          [&](const PlanGroup& candidate) { return candidate.algorithm == choice.algorithm; });
      if (group == of_length.end()) {
        group = of_length.insert(of_length.end(),
                                 {{}, {length}, choice.algorithm, std::move(reasons[head]), 0, 0});
      }
      group->heads.push_back(head);
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
