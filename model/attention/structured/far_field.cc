#include "model/attention/structured/far_field.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "model/attention/structured/chunk_kernels.h"

namespace longwave::attention {

FarField::FarField(const TableStructure& structure) {
  std::vector<FarTerm> constants, smooth;
  for (const FarTerm& term : structure.terms) {
    if (term.smooth) {
      smooth.push_back(term);
    } else if (term.rate == 0.0) {
      constants.push_back(term);
    } else {
      AddAlone(term);
    }
  }
  if (!constants.empty()) AddConstants(constants);
  if (!smooth.empty()) AddSmooth(smooth, structure.basis);
}

FarField FarField::Within(int64_t chunks) const {
  FarField part;
  std::map<int, int> renumbered;  // by first state: states of different scans are the same or apart
  for (const Scan& scan : scans) {
    if (scan.begin >= chunks) continue;
    const auto [place, added] = renumbered.try_emplace(scan.first_state, part.states);
    if (added) {
      const auto copy = [&](const std::vector<float>& from, std::vector<float>& to) {
        const auto begin = from.begin() + scan.first_state * kChunk;
        to.insert(to.end(), begin, begin + scan.states * kChunk);
      };
      copy(key_factors, part.key_factors);
      copy(query_factors, part.query_factors);
      part.states += scan.states;
    }
    part.scans.push_back(scan);
    part.scans.back().first_state = place->second;
  }
  return part;
}

void FarField::AddState(const std::vector<double>& key, const std::vector<double>& query) {
  for (int p = 0; p < kChunk; ++p) {
    key_factors.push_back(static_cast<float>(key[p]));
    query_factors.push_back(static_cast<float>(query[p]));
  }
  ++states;
}

void FarField::AddConstants(const std::vector<FarTerm>& terms) {
  const std::vector<double> ones(kChunk, 1.0);
  for (const FarTerm& term : terms)
    scans.push_back({term.left(),
                     term.nearest(),
                     term.beyond(),
                     states,
                     1,
                     {0.0},
                     {static_cast<float>(std::exp(term.log_amplitude))},
                     {1.0F}});
  AddState(ones, ones);
}

void FarField::AddAlone(const FarTerm& term) {
  const TermFactors factors(term);
  scans.push_back({term.left(),
                   term.nearest(),
                   term.beyond(),
                   states,
                   1,
                   {term.rate * kChunk},
                   {static_cast<float>(factors.amplitude)},
                   {1.0F}});
  AddState(factors.key, factors.query);
}

void FarField::AddSmooth(const std::vector<FarTerm>& terms, const ChunkBasis& basis) {
  const int rank = basis.rank;
  // Terms that cover the same chunks run together.
  std::map<std::pair<int64_t, int64_t>, std::vector<FarTerm>> sweeps;
  for (const FarTerm& term : terms) sweeps[{term.begin, term.end}].push_back(term);
  for (const auto& [range, group] : sweeps) {
    const FarTerm& any = group.front();
    Scan scan{any.left(), any.nearest(), any.beyond(), states, rank, {}, {}, {}};
    scan.out.resize(group.size() * rank);
    for (size_t r = 0; r < group.size(); ++r) {
      const TermFactors factors(group[r]);
      scan.decay.push_back(group[r].rate * kChunk);
      for (const double in : Project(basis.keys, rank, factors.key))
        scan.in.push_back(static_cast<float>(factors.amplitude * in));
      const std::vector<double> out = Project(basis.queries, rank, factors.query);
      for (int k = 0; k < rank; ++k) scan.out[k * group.size() + r] = static_cast<float>(out[k]);
    }
    scans.push_back(std::move(scan));
  }
  for (int k = 0; k < rank; ++k) {
    const auto function = [&](const std::vector<double>& functions) {
      return std::vector<double>(functions.begin() + k * kChunk,
                                 functions.begin() + (k + 1) * kChunk);
    };
    AddState(function(basis.keys), function(basis.queries));
  }
}

}  // namespace longwave::attention
