#include "model/attention/structured/state_scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/attention/structured/aligned.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/attention/structured/state_scan.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
// after highway.h
#include "model/attention/structured/register_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::attention {
namespace HWY_NAMESPACE {

// sums[i] = growth sums[i] + weight x[i], and their float32 values. Those too small for a normal
// float32 become zero: they slow arithmetic down and change nothing.
HWY_INLINE void Advance(double growth, double weight, const float* HWY_RESTRICT x, int width,
                        double* HWY_RESTRICT sums, float* HWY_RESTRICT values) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> narrow;
  const auto old = hn::Set(d, growth);
  const auto fresh = hn::Set(d, weight);
  const auto smallest = hn::Set(d, 1e-36);
  for (int i = 0; i < width; i += static_cast<int>(hn::Lanes(d))) {
    const auto input = hn::Mul(fresh, hn::PromoteTo(d, hn::Load(narrow, x + i)));
    const auto sum = hn::MulAdd(old, hn::Load(d, sums + i), input);
    hn::Store(sum, d, sums + i);
    const auto normal = hn::IfThenZeroElse(hn::Lt(hn::Abs(sum), smallest), sum);
    hn::Store(hn::DemoteTo(narrow, normal), narrow, values + i);
  }
}

// The running sums of one scan for one piece of the states.
class Sweep {
 public:
  // scratch: ScratchFloats(scan, width).
  Sweep(const Scan& scan, int width, float* scratch) : scan_(scan), width_(width) {
    const size_t elements = static_cast<size_t>(scan.rates()) * width;
    sums_ = reinterpret_cast<double*>(scratch);
    input_ = scratch + 2 * elements;
    values_ = input_ + elements;
    Reset();
  }

  static size_t ScratchFloats(const Scan& scan, int width) {
    return 4 * static_cast<size_t>(scan.rates()) * width;
  }

  void Reset() { std::fill_n(sums_, static_cast<size_t>(scan_.rates()) * width_, 0.0); }

  // Takes the states of a key chunk in; null: a chunk outside the sequence. growth, weight: per
  // rate.
  void Take(const float* states, size_t size, const double* growth, const double* weight) {
    if (states == nullptr) {
      std::fill_n(input_, static_cast<size_t>(scan_.rates()) * width_, 0.0F);
    } else {
      PlainProduct product{scan_.in.data(),
                           static_cast<size_t>(scan_.states),
                           states,
                           size,
                           static_cast<size_t>(scan_.states),
                           input_,
                           static_cast<size_t>(width_)};
      ForRegisterTiles(scan_.rates(), width_, product);
    }
    for (int r = 0; r < scan_.rates(); ++r)
      Advance(growth[r], weight[r], input_ + r * width_, width_, sums_ + r * width_,
              values_ + r * width_);
  }

  // Adds what the sums give a query chunk to its states, [states][width].
  void Give(float* target) const {
    AddingProduct product{
        {scan_.out.data(), static_cast<size_t>(scan_.rates()), values_, static_cast<size_t>(width_),
         static_cast<size_t>(scan_.rates()), target, static_cast<size_t>(width_)},
        nullptr};
    ForRegisterTiles(scan_.states, width_, product);
  }

 private:
  const Scan& scan_;
  const int width_;
  double* sums_;   // [rates][width]
  float* input_;   // [rates][width]
  float* values_;  // [rates][width]
};

// Both ends of one piece: where the keys' states are, and where the queries' go.
struct Piece {
  const float* states;  // of chunk 0: [states][size]
  size_t size;
  size_t chunk_stride;
  float* target;  // [chunks][states][width]
  int all_states;
  int width;
  int64_t chunks;

  const float* Key(const Scan& scan, int64_t chunk) const {
    if (chunk < 0 || chunk >= chunks) return nullptr;
    const int64_t place = scan.left ? chunks - 1 - chunk : chunk;
    return states + static_cast<size_t>(place) * chunk_stride + scan.first_state * size;
  }
  float* Query(const Scan& scan, int64_t chunk) const {
    const int64_t place = scan.left ? chunks - 1 - chunk : chunk;
    return target + (static_cast<size_t>(place) * all_states + scan.first_state) * width;
  }
};

// Asks for the states two chunks ahead: they lie too far apart for the processor to guess.
HWY_INLINE void Prefetch(const Piece& piece, const Scan& scan, int64_t chunk) {
  const float* const states = piece.Key(scan, chunk);
  if (states == nullptr) return;
  for (int k = 0; k < scan.states; ++k)
    for (int i = 0; i < piece.width; i += 16) hwy::Prefetch(states + k * piece.size + i);
}

// Chunks are counted from the side where the keys are not: keys follow their queries. A bounded
// window is the end of one block of sources, as long as the window, and the start of the next (van
// Herk, "A fast algorithm for local minimum and maximum filters", 1992), so nothing is ever
// subtracted: what a large state swamped would be gone when it leaves.
void RunScan(const Scan& scan, const Piece& piece, float* scratch) {
  const int64_t chunks = piece.chunks;
  const int64_t length = scan.end - scan.begin;
  const bool open = scan.end >= chunks;
  const int rates = scan.rates();
  std::vector<double> growth(rates), weight(rates, 1.0);
  for (int r = 0; r < rates; ++r) growth[r] = std::exp(-scan.decay[r]);
  Sweep tail(scan, piece.width, scratch);
  for (int64_t source = chunks - 1; source >= scan.begin; --source) {
    Prefetch(piece, scan, source - 2);
    if (!open && (source - scan.begin + 1) % length == 0) tail.Reset();
    tail.Take(piece.Key(scan, source), piece.size, growth.data(), weight.data());
    tail.Give(piece.Query(scan, source - scan.begin));
  }
  if (open) return;
  // Seen from a query that moves on, its nearest keys come closer and weigh more.
  for (int r = 0; r < rates; ++r) {
    growth[r] = std::exp(scan.decay[r]);
    weight[r] = std::exp(-scan.decay[r] * static_cast<double>(length - 1));
  }
  Sweep head(scan, piece.width, scratch);
  for (int64_t source = scan.begin; source < chunks + length - 1; ++source) {
    Prefetch(piece, scan, source + 2);
    if ((source - scan.begin) % length == 0) head.Reset();
    head.Take(piece.Key(scan, source), piece.size, growth.data(), weight.data());
    // A window that ends with its block is a whole block: the tail has it all.
    const int64_t query = source - scan.begin - length + 1;
    if (query >= 0 && query < chunks && (query % length) != 0) head.Give(piece.Query(scan, query));
  }
}

void ScanStatesImpl(const std::vector<Scan>& scans, int states, int64_t chunks, size_t size,
                    size_t begin, size_t end, float* all) {
  size_t largest = 0;
  for (const Scan& scan : scans)
    largest = std::max(largest, Sweep::ScratchFloats(scan, kScanPiece));
  const size_t chunk_stride = size * static_cast<size_t>(states);
  const AlignedFloats scratch(largest);
  const AlignedFloats target(static_cast<size_t>(chunks) * states * kScanPiece);
  for (size_t first = begin; first < end; first += kScanPiece) {
    const int width = static_cast<int>(std::min<size_t>(kScanPiece, end - first));
    const size_t rows = static_cast<size_t>(chunks) * states;
    std::fill_n(target.data(), rows * width, 0.0F);
    const Piece piece{all + first, size, chunk_stride, target.data(), states, width, chunks};
    for (const Scan& scan : scans) RunScan(scan, piece, scratch.data());
    for (size_t row = 0; row < rows; ++row)
      std::memcpy(all + first + row * size, target.data() + row * width, width * sizeof(float));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longwave::attention
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::attention {

HWY_EXPORT(ScanStatesImpl);

void ScanStates(const std::vector<Scan>& scans, int states, int64_t chunks, std::size_t size,
                std::size_t begin, std::size_t end, float* all) {
  HWY_DYNAMIC_DISPATCH(ScanStatesImpl)(scans, states, chunks, size, begin, end, all);
}

}  // namespace longwave::attention
#endif  // HWY_ONCE
