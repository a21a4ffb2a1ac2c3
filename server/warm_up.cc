#include "server/warm_up.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"

namespace longwave {

absl::Status WarmUp(Model& model) {
  constexpr int64_t kTokens = 64;
  const ModelInfo& info = model.info();
  std::vector<int32_t> tokens(std::min(kTokens, info.max_length));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(i % static_cast<size_t>(info.vocab_size));
  }
  std::vector<RunItem> items;
  if (info.can_encode) {
    items.push_back({tokens, Task::kEncode, info.default_pooling, /*normalize=*/true, 0});
  }
  for (size_t head = 0; head < info.heads.size(); ++head) {
    items.push_back({tokens, Task::kClassify, Pooling::kMean, false, static_cast<int>(head)});
  }
  for (const RunResult& result : model.Run(items)) {
    if (!result.status.ok()) {
      return absl::Status(result.status.code(),
                          absl::StrCat("warm-up failed: ", result.status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace longwave
