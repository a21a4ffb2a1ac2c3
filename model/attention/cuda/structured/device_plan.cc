#include "model/attention/cuda/structured/device_plan.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/prepared_head.h"

namespace longwave::attention::cuda {
namespace {

static_assert(kBlock == 2 * kChunk);

// Block offsets [begin, end) whose chunk offsets a term covers, all three of each.
struct BlockRange {
  int64_t begin;  // -kOpen: every one to the left
  int64_t end;    // kOpen: every one to the right
  bool Holds(int64_t block) const { return block >= begin && block < end; }
};

BlockRange RangeOf(const FarTerm& term) {
  const auto halved = [](int64_t x) { return x >= 0 ? x / 2 : -((1 - x) / 2); };  // rounded down
  return {term.begin == -kOpen ? -kOpen : halved(term.begin + 2),
          term.end == kOpen ? kOpen : halved(term.end)};
}

// Whether a tile of chunks holds weights that count.
bool Counts(const TableStructure& structure, int64_t chunk_offset) {
  return std::binary_search(structure.direct.begin(), structure.direct.end(), chunk_offset) ||
         std::any_of(structure.terms.begin(), structure.terms.end(), [&](const FarTerm& term) {
           return chunk_offset >= term.begin && chunk_offset < term.end;
         });
}

// A block offset beyond which, on either side, nothing changes any more.
int64_t Reach(const TableStructure& structure) {
  int64_t chunks = 0;
  const auto cover = [&chunks](int64_t offset) {
    if (std::abs(offset) < kOpen) chunks = std::max(chunks, std::abs(offset));
  };
  for (const int64_t offset : structure.direct) cover(offset);
  for (const FarTerm& term : structure.terms) {
    cover(term.begin);
    cover(term.end);
  }
  return chunks / 2 + 2;
}

float Amplitude(const FarTerm& term) { return static_cast<float>(std::exp(term.log_amplitude)); }

StateGroup ExponentialGroup(const FarTerm& term, int64_t nearest) {
  StateGroup group;
  group.exponential = 1;
  group.rate = static_cast<float>(term.rate);
  // Together with the decays of key and row this is the weight at the nearest distance.
  const float enter = static_cast<float>(std::exp(
      term.log_amplitude - term.rate * static_cast<double>(nearest * kBlock - (kBlock - 1))));
  if (term.begin == -kOpen) {
    group.left_nearest = static_cast<int32_t>(nearest);
    group.left_enter = enter;
  } else {
    group.right_nearest = static_cast<int32_t>(nearest);
    group.right_enter = enter;
  }
  return group;
}

template <typename T>
at::Tensor Upload(const std::vector<T>& values, const at::Device& device) {
  at::Tensor bytes =
      at::empty({static_cast<int64_t>(std::max<size_t>(values.size(), 1) * sizeof(T))}, at::kByte);
  if (!values.empty())
    std::memcpy(bytes.mutable_data_ptr(), values.data(), values.size() * sizeof(T));
  return bytes.to(device);
}

}  // namespace

BlockStructure::BlockStructure(const TableStructure& structure) {
  std::vector<BlockRange> ranges;
  StateGroup constants;
  for (const FarTerm& term : structure.terms) {
    const BlockRange range = RangeOf(term);
    ranges.push_back(range);
    if (range.begin >= range.end) continue;  // all of it in direct tiles
    if (term.rate != 0) {
      groups.push_back(ExponentialGroup(term, term.begin == -kOpen ? 1 - range.end : range.begin));
    } else if (range.end == kOpen) {
      constants.right_nearest = static_cast<int32_t>(range.begin);
      constants.right_enter = Amplitude(term);
    } else if (range.begin == -kOpen) {
      constants.left_nearest = static_cast<int32_t>(1 - range.end);
      constants.left_enter = Amplitude(term);
    } else {
      windows.push_back(
          {static_cast<int32_t>(range.begin), static_cast<int32_t>(range.end), Amplitude(term)});
    }
  }
  if (constants.left_nearest > 0 || constants.right_nearest > 0 || !windows.empty()) {
    groups.insert(groups.begin(), constants);
  }

  const int64_t reach = Reach(structure);
  for (int64_t block = -reach; block <= reach; ++block) {
    const bool far = std::any_of(ranges.begin(), ranges.end(),
                                 [block](const BlockRange& range) { return range.Holds(block); });
    if (far) continue;
    for (const int64_t chunk : {2 * block - 1, 2 * block, 2 * block + 1}) {
      if (!Counts(structure, chunk)) continue;
      direct.push_back(static_cast<int32_t>(block));
      break;
    }
  }
}

int64_t BlockStructure::DirectTiles(int64_t n) const {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  int64_t tiles = 0;
  for (const int64_t offset : direct) tiles += std::max<int64_t>(0, blocks - std::abs(offset));
  return blocks == 0 ? 0 : (tiles + blocks - 1) / blocks;
}

bool BlockStructure::Neighbours() const {
  const auto tiles = static_cast<int32_t>(direct.size());
  return tiles <= kMaxSpan && (tiles == 0 || direct.back() - direct.front() < tiles);
}

DevicePlan::DevicePlan(const PositionBias& bias, int64_t heads, bool smooth,
                       const at::Device& device) {
  const BiasTable table = bias.Table();
  const int64_t width = table.values.size(2), edge = width / 2;
  std::vector<HeadPlan> plans;
  std::vector<int32_t> offsets;
  std::vector<float> weights;
  std::vector<StateGroup> groups;
  std::vector<float> decays;
  std::vector<StateWindow> windows;
  for (int64_t head = 0; head < heads; ++head) {
    HeadPlan plan;
    plan.direct_begin = static_cast<int32_t>(offsets.size());
    plan.group_begin = static_cast<int32_t>(groups.size());
    plan.window_begin = static_cast<int32_t>(windows.size());
    if (const PreparedHead* const prepared = bias.Structure(head, smooth); prepared != nullptr) {
      const BlockStructure structure(prepared->structure());
      offsets.insert(offsets.end(), structure.direct.begin(), structure.direct.end());
      if (!structure.direct.empty()) plan.last_offset = structure.direct.back();
      view_.constant &= structure.windows.empty();
      for (const StateGroup& group : structure.groups) view_.constant &= group.exponential == 0;
      view_.neighbours &= structure.Neighbours();
      groups.insert(groups.end(), structure.groups.begin(), structure.groups.end());
      windows.insert(windows.end(), structure.windows.begin(), structure.windows.end());
      const float* const b = table.values.const_data_ptr<float>() + head * width + edge;
      for (const int64_t offset : structure.direct) {
        for (int64_t d = -(kBlock - 1); d <= kBlock; ++d) {
          const int64_t t = offset * kBlock + d;
          const bool forbidden = d == kBlock || (bias.causal() && t > 0);
          weights.push_back(
              forbidden ? 0
                        : Weight(b[std::clamp(t, -edge, edge)], prepared->structure().reference));
        }
      }
      for (const StateGroup& group : structure.groups) {
        for (int j = 0; j < kBlock; ++j) {
          decays.push_back(static_cast<float>(std::exp(-static_cast<double>(group.rate) * j)));
        }
      }
    }
    plan.direct_end = static_cast<int32_t>(offsets.size());
    plan.group_end = static_cast<int32_t>(groups.size());
    plan.window_end = static_cast<int32_t>(windows.size());
    view_.max_groups = std::max(view_.max_groups, plan.group_end - plan.group_begin);
    plans.push_back(plan);
  }
  const auto upload = [&](const auto& values) {
    arrays_.push_back(Upload(values, device));
    return arrays_.back().const_data_ptr();
  };
  view_.heads = static_cast<const HeadPlan*>(upload(plans));
  view_.offsets = static_cast<const int32_t*>(upload(offsets));
  view_.weights = static_cast<const float*>(upload(weights));
  view_.groups = static_cast<const StateGroup*>(upload(groups));
  view_.decays = static_cast<const float*>(upload(decays));
  view_.windows = static_cast<const StateWindow*>(upload(windows));
}

}  // namespace longwave::attention::cuda
