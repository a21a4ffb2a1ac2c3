#include "model/attention/structured/table_structures.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace longwave::attention {
namespace {

// Direct tiles that a smooth far field costs at least; below, it cannot pay.
constexpr size_t kCheapTiles = 16;

// Most exponentials a side.
constexpr int kMaxExponentials = 24;

}  // namespace

TableStructures::TableStructures(const at::Tensor& table, bool causal) {
  const int64_t width = table.size(1);
  const int64_t length = (width + 1) / 2;
  std::vector<float> bias(width);
  for (int64_t head = 0; head < table.size(0); ++head) {
    std::copy_n(table.const_data_ptr<float>() + head * width, width, bias.begin());
    if (causal)
      std::fill(bias.begin() + length, bias.end(), -std::numeric_limits<float>::infinity());
    StructureOptions options;
    TableStructure exact = AnalyzeTable(bias.data(), length, options);
    const size_t tiles = exact.direct.size();
    exact_.push_back(std::make_unique<PreparedHead>(bias.data(), length, std::move(exact)));
    smooth_.emplace_back();
    if (tiles <= kCheapTiles) continue;
    options.max_exponentials = kMaxExponentials;
    TableStructure smooth = AnalyzeTable(bias.data(), length, options);
    if (smooth.direct.size() < tiles)
      smooth_.back() = std::make_unique<PreparedHead>(bias.data(), length, std::move(smooth));
  }
}

}  // namespace longwave::attention
