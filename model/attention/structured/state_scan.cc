#include "model/attention/structured/state_scan.h"

#include <algorithm>
#include <cmath>

#include "model/attention/structured/chunk_kernels.h"

namespace longwave::attention {
namespace {

// Running sums of one range of elements.
class Running {
 public:
  Running(const float* chunk_states, std::size_t size, std::size_t begin, std::size_t end)
      : source_(chunk_states), size_(size), begin_(begin), sum_(end - begin, 0.0) {}

  void Add(int64_t chunk, double factor) {
    const float* from = source_ + static_cast<std::size_t>(chunk) * size_ + begin_;
    for (std::size_t i = 0; i < sum_.size(); ++i) sum_[i] += factor * from[i];
  }

  void Reset() { std::fill(sum_.begin(), sum_.end(), 0.0); }

  void Decay(double factor) {
    for (double& value : sum_) value *= factor;
  }

  // Adds factor * sum to a state. Values too small for a normal float32 become zero: they slow
  // arithmetic down and change nothing.
  void AddTo(float* states, int64_t chunk, double factor) const {
    float* to = states + static_cast<std::size_t>(chunk) * size_ + begin_;
    for (std::size_t i = 0; i < sum_.size(); ++i) {
      const double value = factor * sum_[i];
      to[i] += std::abs(value) < 1e-36 ? 0.0F : static_cast<float>(value);
    }
  }

 private:
  const float* source_;
  std::size_t size_;
  std::size_t begin_;
  std::vector<double> sum_;
};

void Clear(float* states, int64_t chunks, std::size_t size, std::size_t begin, std::size_t end) {
  for (int64_t b = 0; b < chunks; ++b)
    std::fill(states + b * size + begin, states + b * size + end, 0.0F);
}

// A bounded run. The sources are cut into blocks as long as the window; a window is the end of one
// block and the start of the next (van Herk, "A fast algorithm for local minimum and maximum
// filters", 1992), so nothing is ever subtracted: what a large state swamped would be gone when it
// leaves.
void ScanWindow(const float* chunk_states, float* states, int64_t chunks, std::size_t size,
                const FarTerm& term, std::size_t begin, std::size_t end) {
  const double amplitude = std::exp(term.log_amplitude);
  const int64_t first = std::max(term.begin, -chunks);
  const int64_t length = std::min(term.end, chunks) - first;
  if (length <= 0) return;
  const auto inside = [chunks](int64_t chunk) { return chunk >= 0 && chunk < chunks; };
  // The window of query chunk b is [b + first, b + first + length); blocks are counted from
  // `first`.
  Running tail(chunk_states, size, begin, end);
  for (int64_t source = chunks + first + length - 1; source >= first; --source) {
    if ((source - first + 1) % length == 0) tail.Reset();
    if (inside(source)) tail.Add(source, 1.0);
    if (inside(source - first)) tail.AddTo(states, source - first, amplitude);
  }
  Running head(chunk_states, size, begin, end);
  for (int64_t source = first; source < chunks + first + length; ++source) {
    if ((source - first) % length == 0) head.Reset();
    if (inside(source)) head.Add(source, 1.0);
    // A window that ends with its block is a whole block: the tail has it all.
    const int64_t query = source - first - length + 1;
    if (inside(query) && (source - first + 1) % length != 0) head.AddTo(states, query, amplitude);
  }
}

}  // namespace

void ScanConstants(const float* chunk_states, float* states, int64_t chunks, std::size_t size,
                   const std::vector<FarTerm>& terms, std::size_t begin, std::size_t end) {
  Clear(states, chunks, size, begin, end);
  const auto inside = [chunks](int64_t chunk) { return chunk >= 0 && chunk < chunks; };
  for (const FarTerm& term : terms) {
    const double amplitude = std::exp(term.log_amplitude);
    Running sum(chunk_states, size, begin, end);
    if (term.end == kOpen) {
      for (int64_t b = chunks - 1; b >= 0; --b) {
        if (inside(b + term.begin)) sum.Add(b + term.begin, 1.0);
        sum.AddTo(states, b, amplitude);
      }
      continue;
    }
    if (term.begin == -kOpen) {
      for (int64_t b = 0; b < chunks; ++b) {
        if (inside(b + term.end - 1)) sum.Add(b + term.end - 1, 1.0);
        sum.AddTo(states, b, amplitude);
      }
      continue;
    }
    ScanWindow(chunk_states, states, chunks, size, term, begin, end);
  }
}

void ScanExponential(const float* chunk_states, float* states, int64_t chunks, std::size_t size,
                     const FarTerm& term, std::size_t begin, std::size_t end) {
  Clear(states, chunks, size, begin, end);
  const bool left = term.begin == -kOpen;
  const int64_t nearest = left ? 1 - term.end : term.begin;
  const double decay = std::exp(-term.rate * kChunk);
  const double enter = std::exp(term.log_amplitude -
                                term.rate * static_cast<double>(nearest * kChunk - (kChunk - 1)));
  Running sum(chunk_states, size, begin, end);
  for (int64_t step = 0; step < chunks; ++step) {
    const int64_t b = left ? step : chunks - 1 - step;
    const int64_t source = left ? b - nearest : b + nearest;
    sum.Decay(decay);
    if (source >= 0 && source < chunks) sum.Add(source, enter);
    sum.AddTo(states, b, 1.0);
  }
}

}  // namespace longwave::attention
