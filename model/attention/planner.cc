#include "model/attention/planner.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <iterator>
#include <limits>
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

// The algorithms that serve a head. account, when not null, receives what speaks for each or
// against, each after "; ".
std::vector<Choice> Candidates(Shape shape, int64_t workspace_bytes, std::string* account) {
  shape.workspace_limit = workspace_bytes;
  std::vector<Choice> candidates;
  int64_t least = std::numeric_limits<int64_t>::max();  // bytes needed where they are too many
  std::ostringstream notes;
  const auto note = [&](const Algorithm& algorithm, const auto&... words) {
    if (account == nullptr) return;
    notes << "; " << algorithm.name() << ' ';
    (notes << ... << words);
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
      least = std::min(least, estimate.workspace_bytes);
      continue;
    }
    note(*algorithm, "takes ", estimate.milliseconds, " ms and errs by at most ",
         estimate.error_bound);
    candidates.push_back({algorithm, estimate});
  }
  TORCH_CHECK_VALUE(workspace_bytes == 0 || !candidates.empty(), "workspace_bytes: found ",
                    workspace_bytes, ", expected ", least, " or more for head ", shape.head,
                    " and ", shape.length, " tokens");
  if (account != nullptr) *account = notes.str();
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

// Why a head takes its choice, where `fastest` is what it would take alone.
std::string Reason(const Choice& choice, const Choice& fastest, int64_t length,
                   std::string_view account) {
  std::ostringstream reason;
  if (choice.fastest) {
    reason << "fastest of those that serve a head of " << length << " tokens";
  } else {
    reason << "shares the call of other heads, though alone " << fastest.algorithm->name()
           << " would be faster for a head of " << length << " tokens";
  }
  reason << account;
  return reason.str();
}

// Milliseconds of one head beside what its call takes however many heads it computes.
double OwnTime(const Shape& shape, const Estimate& estimate) {
  return estimate.milliseconds - estimate.call_milliseconds / static_cast<double>(shape.units);
}

// use(head) for the first one of each call that the heads are split over: neighbours that take one
// algorithm are computed together.
template <typename Use>
void ForEachCall(std::span<const Choice> heads, const Use& use) {
  const Algorithm* previous = nullptr;
  for (size_t head = 0; head < heads.size(); ++head) {
    if (heads[head].algorithm != previous) use(head);
    previous = heads[head].algorithm;
  }
}

// Milliseconds of all heads and sequences of a call, if those are of one length.
double CallTime(const Shape& shape, std::span<const Choice> heads) {
  const double sequences = static_cast<double>(shape.units) / static_cast<double>(heads.size());
  double time = 0;
  for (const Choice& choice : heads) time += sequences * OwnTime(shape, choice.estimate);
  ForEachCall(heads, [&](size_t head) { time += heads[head].estimate.call_milliseconds; });
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

// What the heads of a call take, and why.
struct HeadPlan {
  std::vector<Choice> choices;
  std::vector<std::string> reasons;
};

// The groups of heads of sequences of one length, each with the time of one sequence but for what
// the calls take.
std::vector<PlanGroup> GroupsOf(const Shape& shape, const HeadPlan& heads) {
  std::vector<PlanGroup> groups;
  std::vector<std::vector<int64_t>> moved;  // of each group
  for (size_t head = 0; head < heads.choices.size(); ++head) {
    const Choice& choice = heads.choices[head];
    const auto found = std::find_if(groups.begin(), groups.end(), [&](const PlanGroup& candidate) {
      return candidate.algorithm == choice.algorithm;
    });
    const size_t at = static_cast<size_t>(found - groups.begin());
    if (found == groups.end()) {
      groups.push_back({{}, {shape.length}, choice.algorithm, "", 0, 0});
      moved.emplace_back();
    }
    PlanGroup& group = groups[at];
    group.heads.push_back(static_cast<int64_t>(head));
    group.error_bound = std::max(group.error_bound, choice.estimate.error_bound);
    group.predicted_ms += OwnTime(shape, choice.estimate);
    // An algorithm is chosen only where it is the fastest of some head: its reason stands for all.
    if (!choice.fastest) {
      moved[at].push_back(static_cast<int64_t>(head));
    } else if (group.reason.empty()) {
      group.reason = heads.reasons[head];
    }
  }
  for (size_t at = 0; at < groups.size(); ++at) {
    if (moved[at].empty()) continue;
    std::ostringstream note;
    note << "; heads ";
    WriteList(note, moved[at]);
    note << " share its call, though each has a faster one alone";
    groups[at].reason += note.str();
  }
  return groups;
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
  std::string account;
  const Choice choice =
      Fastest(Candidates(shape, workspace_bytes, reason == nullptr ? nullptr : &account));
  if (reason != nullptr) *reason = Reason(choice, choice, shape.length, account);
  return choice;
}

std::vector<Choice> ChooseHeads(Shape shape, int64_t heads, int64_t workspace_bytes,
                                std::vector<std::string>* reasons) {
  std::vector<std::vector<Choice>> candidates;  // of every head
  std::vector<std::string> accounts(heads);
  std::vector<Choice> fastest;
  for (shape.head = 0; shape.head < heads; ++shape.head) {
    candidates.push_back(
        Candidates(shape, workspace_bytes, reasons == nullptr ? nullptr : &accounts[shape.head]));
    fastest.push_back(Fastest(candidates.back()));
  }
  // Does without one algorithm after the other, as long as that is faster.
  std::vector<Choice> chosen = fastest;
  for (double time = CallTime(shape, chosen);;) {
    std::vector<Choice> best;
    for (const Algorithm* algorithm : Algorithms(shape.device)) {
      std::optional<std::vector<Choice>> fewer = Without(*algorithm, chosen, candidates);
      if (!fewer.has_value()) continue;
      const double without = CallTime(shape, *fewer);
      if (without >= time) continue;
      time = without;
      best = *std::move(fewer);
    }
    if (best.empty()) break;
    chosen = std::move(best);
  }
  for (int64_t head = 0; head < heads; ++head) {
    chosen[head].fastest = chosen[head].algorithm == fastest[head].algorithm;
    if (reasons == nullptr) continue;
    reasons->push_back(Reason(chosen[head], fastest[head], shape.length, accounts[head]));
  }
  return chosen;
}

std::vector<PlanGroup> Plan(Shape base, int64_t heads, std::span<const int64_t> lengths,
                            int64_t workspace_bytes) {
  std::map<int64_t, HeadPlan> by_length;
  std::vector<PlanGroup> plan;
  for (const int64_t length : lengths) {
    if (length == 0) continue;
    base.length = length;
    const auto [entry, inserted] = by_length.try_emplace(length);
    HeadPlan& of_length = entry->second;
    if (inserted) {
      base.transform_size = base.bias->TransformSize(length);
      of_length.choices = ChooseHeads(base, heads, workspace_bytes, &of_length.reasons);
    }
    for (PlanGroup& group : GroupsOf(base, of_length)) {
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
  // Lengths next to each other whose heads take the same algorithms share their calls.
  const HeadPlan* previous = nullptr;
  for (const auto& [length, of_length] : by_length) {
    const auto same = [](const Choice& a, const Choice& b) { return a.algorithm == b.algorithm; };
    const std::vector<Choice>& choices = of_length.choices;
    if (previous != nullptr && std::ranges::equal(previous->choices, choices, same)) continue;
    previous = &of_length;
    ForEachCall(choices, [&, length = length](size_t head) {
      const auto group = std::find_if(plan.begin(), plan.end(), [&](const PlanGroup& candidate) {
        const auto has = [](const std::vector<int64_t>& list, int64_t value) {
          return std::find(list.begin(), list.end(), value) != list.end();
        };
        return candidate.algorithm == choices[head].algorithm &&
               has(candidate.heads, static_cast<int64_t>(head)) && has(candidate.lengths, length);
      });
      group->predicted_ms += choices[head].estimate.call_milliseconds;
    });
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
