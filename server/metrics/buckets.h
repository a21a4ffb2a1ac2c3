#ifndef LONGWAVE_SERVER_METRICS_BUCKETS_H_
#define LONGWAVE_SERVER_METRICS_BUCKETS_H_

#include <vector>

namespace longwave {

// Upper bounds in seconds of all duration histograms: 15 us x 1.5^k, k = 0..34 (to about 14.6 s).
// Every estimate of a quantile is within a factor of 1.5, at the scale of a network round trip as
// well as of a long document.
std::vector<double> DurationBuckets();

// Powers of two from `first` to `last`, both powers of two.
std::vector<double> PowerOfTwoBuckets(double first, double last);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_METRICS_BUCKETS_H_
