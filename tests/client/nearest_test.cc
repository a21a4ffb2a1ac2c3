#include "client/cli/nearest.h"

#include <gtest/gtest.h>

#include <vector>

namespace longwave::client {
namespace {

TEST(NearestTest, FindsTheLargestCosineWhateverTheLengths) {
  const std::vector<std::vector<float>> rows = {{1, 0}, {0, 5}, {100, 10}, {0, 0}, {}, {-1, -1}};
  const auto nearest =
      NearestNeighbours(std::vector<absl::Span<const float>>(rows.begin(), rows.end()));
  ASSERT_EQ(nearest.size(), rows.size());
  ASSERT_TRUE(nearest[0] && nearest[1] && nearest[2] && nearest[5]);
  EXPECT_EQ(nearest[0]->index, 2);
  EXPECT_NEAR(nearest[0]->cosine, 0.99503719, 1e-7);
  EXPECT_EQ(nearest[1]->index, 2);
  EXPECT_EQ(nearest[2]->index, 0);
  EXPECT_EQ(nearest[5]->index, 0) << "the first of two with the same cosine";
  EXPECT_FALSE(nearest[3]) << "a zero vector has no direction";
  EXPECT_FALSE(nearest[4]);
}

TEST(NearestTest, ALoneVectorHasNoNeighbour) {
  const std::vector<float> row = {1, 2};
  EXPECT_FALSE(NearestNeighbours({row})[0]);
  EXPECT_TRUE(NearestNeighbours({}).empty());
}

}  // namespace
}  // namespace longwave::client
