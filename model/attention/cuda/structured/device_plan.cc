#include "model/attention/cuda/structured/device_plan.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/attention/structured/chunk_kernels.h"

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

// Of a term in blocks. Together with the factors of key and row, `enter` is the weight.
StateGroup ExponentialGroup(const FarTerm& term, const TermFactors& factors) {
  StateGroup group;
  group.weighted = 1;
  group.rate = static_cast<float>(term.rate);
  (term.left() ? group.left_nearest : group.right_nearest) = static_cast<int32_t>(term.nearest());
  (term.left() ? group.left_enter : group.right_enter) = static_cast<float>(factors.amplitude);
  return group;
}

FarTerm InBlocks(FarTerm term, const BlockRange& range) {
  term.begin = range.begin;
  term.end = range.end;
  return term;
}

FarMix::Side MixSide(const std::vector<FarTerm>& terms, const ChunkBasis& basis) {
  FarMix::Side side;
  int r = 0;
  for (const FarTerm& term : terms) {
    const TermFactors factors(term, kBlock);
    side.nearest = static_cast<int32_t>(term.nearest());
    side.decay[r] = static_cast<float>(std::exp(-term.rate * kBlock));
    const std::vector<double> in = Project(basis.keys, basis.rank, factors.key);
    const std::vector<double> out = Project(basis.queries, basis.rank, factors.query);
    for (int k = 0; k < basis.rank; ++k) {
      side.in[r][k] = static_cast<float>(factors.amplitude * in[k]);
      side.out[r][k] = static_cast<float>(out[k]);
    }
    ++r;
  }
  return side;
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

std::vector<FarTerm> SmoothBlockTerms(const TableStructure& structure) {
  std::vector<FarTerm> terms;
  for (const FarTerm& term : structure.terms) {
    const BlockRange range = RangeOf(term);
    if (term.smooth && range.begin < range.end) terms.push_back(InBlocks(term, range));
  }
  return terms;
}

void BlockStructure::AddGroup(const StateGroup& group, const std::vector<double>& key,
                              const std::vector<double>& query) {
  groups.push_back(group);
  key_factors.insert(key_factors.end(), key.begin(), key.end());
  query_factors.insert(query_factors.end(), query.begin(), query.end());
}

BlockStructure::BlockStructure(const TableStructure& structure, const ChunkBasis& basis) {
  std::vector<BlockRange> ranges;
  std::vector<FarTerm> exponentials;
  StateGroup constants;
  for (const FarTerm& term : structure.terms) {
    const BlockRange range = RangeOf(term);
    ranges.push_back(range);
    if (range.begin >= range.end) continue;  // all of it in direct tiles
    if (term.smooth && basis.rank > 0) continue;
    if (term.rate != 0) {
      exponentials.push_back(InBlocks(term, range));
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
    const std::vector<double> ones(kBlock, 1.0);
    AddGroup(constants, ones, ones);
  }
  for (const FarTerm& term : exponentials) {
    const TermFactors factors(term, kBlock);
    AddGroup(ExponentialGroup(term, factors), factors.key, factors.query);
  }
  if (basis.rank > 0) {
    std::vector<FarTerm> left, right;
    for (const FarTerm& term : SmoothBlockTerms(structure)) {
      (term.left() ? left : right).push_back(term);
    }
    mix.first = static_cast<int32_t>(groups.size());
    mix.rank = basis.rank;
    mix.left = MixSide(left, basis);
    mix.right = MixSide(right, basis);
    StateGroup group;
    group.weighted = group.mixed = 1;
    group.left_nearest = mix.left.nearest;
    group.right_nearest = mix.right.nearest;
    for (int k = 0; k < basis.rank; ++k) {
      const auto function = [k](const std::vector<double>& functions) {
        return std::vector<double>(functions.begin() + k * kBlock,
                                   functions.begin() + (k + 1) * kBlock);
      };
      AddGroup(group, function(basis.keys), function(basis.queries));
    }
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

DevicePlan::DevicePlan(const PositionBias& bias, const std::vector<Head>& heads,
                       const at::Device& device) {
  const BiasTable table = bias.Table();
  const int64_t width = table.values.size(2), edge = width / 2;
  std::vector<HeadPlan> plans;
  std::vector<int32_t> offsets;
  std::vector<float> weights;
  std::vector<StateGroup> groups;
  std::vector<float> key_factors, query_factors;
  std::vector<StateWindow> windows;
  std::vector<FarMix> mixes;
  view_.all_mixed = true;
  for (int64_t head = 0; head < static_cast<int64_t>(heads.size()); ++head) {
    HeadPlan plan;
    plan.direct_begin = static_cast<int32_t>(offsets.size());
    plan.group_begin = static_cast<int32_t>(groups.size());
    plan.window_begin = static_cast<int32_t>(windows.size());
    FarMix mix;
    if (const TableStructure* const table_structure = heads[head].structure;
        table_structure != nullptr) {
      const BlockStructure structure(*table_structure, heads[head].basis);
      mix = structure.mix;
      view_.max_rank = std::max(view_.max_rank, mix.rank);
      for (const FarMix::Side* const side : {&mix.left, &mix.right}) {
        for (int32_t rate = 0; rate < kMaxRates; ++rate) {
          if (side->decay[rate] != 0) view_.max_rates = std::max(view_.max_rates, rate + 1);
        }
      }
      offsets.insert(offsets.end(), structure.direct.begin(), structure.direct.end());
      if (!structure.direct.empty()) plan.last_offset = structure.direct.back();
      view_.constant &= structure.windows.empty();
      for (const StateGroup& group : structure.groups) {
        view_.constant &= group.weighted == 0;
        view_.all_mixed &= group.mixed != 0;
      }
      view_.neighbours &= structure.Neighbours();
      groups.insert(groups.end(), structure.groups.begin(), structure.groups.end());
      windows.insert(windows.end(), structure.windows.begin(), structure.windows.end());
      const float* const b = table.values.const_data_ptr<float>() + head * width + edge;
      for (const int64_t offset : structure.direct) {
        for (int64_t d = -(kBlock - 1); d <= kBlock; ++d) {
          const int64_t t = offset * kBlock + d;
          const bool forbidden = d == kBlock || (bias.causal() && t > 0);
          weights.push_back(
              forbidden ? 0 : Weight(b[std::clamp(t, -edge, edge)], table_structure->reference));
        }
      }
      key_factors.insert(key_factors.end(), structure.key_factors.begin(),
                         structure.key_factors.end());
      query_factors.insert(query_factors.end(), structure.query_factors.begin(),
                           structure.query_factors.end());
    }
    mixes.push_back(mix);
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
  view_.key_factors = static_cast<const float*>(upload(key_factors));
  view_.query_factors = static_cast<const float*>(upload(query_factors));
  view_.mixes = static_cast<const FarMix*>(upload(mixes));
  view_.windows = static_cast<const StateWindow*>(upload(windows));
}

}  // namespace longwave::attention::cuda
