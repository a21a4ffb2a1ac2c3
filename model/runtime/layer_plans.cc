#include "model/runtime/layer_plans.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace longwave {

void AddLayerPlans(const std::string& json, int layer, std::vector<AttentionPlan>& plans) {
  const nlohmann::json document = nlohmann::json::parse(json);
  for (const nlohmann::json& group : document.at("groups")) {
    AttentionPlan plan;
    plan.layers = {layer};
    plan.heads = group.at("heads").get<std::vector<int>>();
    plan.lengths = group.at("lengths").get<std::vector<int64_t>>();
    plan.algorithm = group.at("algorithm").get<std::string>();
    plan.reason = group.at("reason").get<std::string>();
    plan.error_bound = group.at("error_bound").get<double>();
    plan.predicted_ms = group.at("predicted_ms").get<double>();
    const auto same = std::find_if(plans.begin(), plans.end(), [&](const AttentionPlan& other) {
      return other.algorithm == plan.algorithm && other.heads == plan.heads &&
             other.lengths == plan.lengths;
    });
    if (same == plans.end()) {
      plans.push_back(std::move(plan));
      continue;
    }
    same->layers.push_back(layer);
    same->error_bound = std::max(same->error_bound, plan.error_bound);
    same->predicted_ms += plan.predicted_ms;
  }
}

}  // namespace longwave
