#ifndef LONGWAVE_BENCH_SERVING_LOAD_REPORT_H_
#define LONGWAVE_BENCH_SERVING_LOAD_REPORT_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "bench/serving/load_driver.h"

namespace longwave::bench {

// Memory of a process over a run.
class MemorySeries {
 public:
  // Of the process `pid`; 0: of none.
  explicit MemorySeries(int pid) : pid_(pid) {}

  // Reads the resident bytes now. Nothing when the process has ended.
  void Sample();

  const std::vector<int64_t>& bytes() const { return bytes_; }

 private:
  const int pid_;
  std::vector<int64_t> bytes_;
};

// One line about a run that is going on: "12.0 s  sent 1.2k  answered 1.2k  p50 0.18 ms ...".
std::string ProgressLine(const LoadDriver& driver, absl::Duration elapsed);

// An aligned table, one row per class.
void PrintTable(const LoadDriver& driver, absl::Duration measured, std::ostream& out);

// Everything that was measured as one JSON object; times in milliseconds.
std::string ToJson(const LoadDriver& driver, const LoadDriver::Options& options,
                   const MemorySeries& memory);

// Requests of all classes that got a wrong answer, none, or one twice.
int64_t Mistakes(const LoadDriver& driver);

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_LOAD_REPORT_H_
