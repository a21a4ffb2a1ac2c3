#include "model/attention/relative_bias_2d.h"

#include <utility>

#include "model/attention/check.h"

namespace longwave::attention {
namespace {

at::Tensor Checked(const at::Tensor& bias, const std::vector<int64_t>& grid,
                   const std::string& feature_map, double tolerance) {
  CheckBiasTable(bias, /*rank=*/3);
  TORCH_CHECK_VALUE(grid.size() == 2 && grid[0] >= 1 && grid[1] >= 1, "grid: found ", grid,
                    ", expected a height and a width of 1 or more");
  TORCH_CHECK_VALUE(grid[0] <= kMaxGridTokens / grid[1], "grid: found ", grid,
                    ", expected at most ", kMaxGridTokens, " tokens");
  ParseFeatureMap(feature_map);
  CheckTolerance(tolerance);
  return bias.detach().clone(at::MemoryFormat::Contiguous);
}

}  // namespace

RelativeBias2d::RelativeBias2d(const at::Tensor& bias, std::vector<int64_t> grid,
                               std::string feature_map, double tolerance)
    : table_(Checked(bias, grid, feature_map, tolerance)),
      grid_(std::move(grid)),
      feature_map_(std::move(feature_map)),
      tolerance_(tolerance),
      grid_bias_(table_, grid_[0], grid_[1]) {}

}  // namespace longwave::attention
