#ifndef LONGWAVE_CLIENT_CLI_NPY_H_
#define LONGWAVE_CLIENT_CLI_NPY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace longwave::client {

// The header of a NumPy file, format 1.0 (NEP 1), for a float32 matrix in C order: magic, version,
// length and a padded dictionary; its size is a multiple of 64 bytes.
std::string NpyHeader(int64_t rows, int64_t cols);

// Writes a float32 matrix [rows, cols] that numpy.load reads. Replaces the file only when
// everything is written. `values` holds rows * cols elements. Errors (UNKNOWN, PERMISSION_DENIED,
// NOT_FOUND, ...) name the path and what the system said. Blocks.
absl::Status WriteNpy(const std::string& path, absl::Span<const float> values, int64_t rows,
                      int64_t cols);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_NPY_H_
