// Runs a model folder on one batch of items, for parity tests in other languages:
//
//   longwave_run_model FOLDER < request.json > response.json
//
// Request:  {"items": [{"ids": [...], "task": "encode" | "classify", "pooling": "mean" |
// "first_token" | "none",
//                       "normalize": bool, "head": int}]}; all keys but "ids" have the defaults of
//                       RunItem.
// Response: {"results": [{"status": "OK" or what went wrong, "rows": int, "cols": int, "values":
// [...]}]}
//
// Exits with 1 when the model does not load, with 2 on a wrong call or request.
#include <cstdint>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/runtime/model.h"

namespace {

using Json = nlohmann::json;

longwave::Pooling ParsePooling(const std::string& name) {
  if (name == "mean") return longwave::Pooling::kMean;
  if (name == "first_token") return longwave::Pooling::kFirstToken;
  if (name == "none") return longwave::Pooling::kNone;
  throw std::invalid_argument("pooling: " + name);
}

longwave::Task ParseTask(const std::string& name) {
  if (name == "encode") return longwave::Task::kEncode;
  if (name == "classify") return longwave::Task::kClassify;
  throw std::invalid_argument("task: " + name);
}

Json Run(longwave::Model& model, const Json& request) {
  const Json& requested = request.at("items");
  std::vector<std::vector<int32_t>> ids;  // outlives the items, which point into it
  for (const Json& item : requested) ids.push_back(item.at("ids").get<std::vector<int32_t>>());
  std::vector<longwave::RunItem> items;
  for (size_t i = 0; i < ids.size(); ++i) {
    longwave::RunItem item;
    item.tokens = ids[i];
    item.task = ParseTask(requested[i].value("task", "encode"));
    item.pooling = ParsePooling(requested[i].value("pooling", "mean"));
    item.normalize = requested[i].value("normalize", false);
    item.head = requested[i].value("head", 0);
    items.push_back(item);
  }
  Json results = Json::array();
  for (const longwave::RunResult& result : model.Run(items)) {
    results.push_back({{"status", result.status.ToString()},
                       {"rows", result.rows},
                       {"cols", result.cols},
                       {"values", result.values}});
  }
  return {{"results", results}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: longwave_run_model FOLDER < request.json > response.json\n";
    return 2;
  }
  const auto model = longwave::Model::Load(argv[1], {});
  if (!model.ok()) {
    std::cerr << model.status() << "\n";
    return 1;
  }
  try {
    std::cout << Run(**model, Json::parse(std::cin)) << "\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
  return 0;
}
