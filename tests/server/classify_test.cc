#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ClassifyTest : public ServerTest {
 protected:
  // A request whose only input has this id as its first token; the fake gives label id % 3 the
  // probability 0.5, the others 0.25.
  static v1::ClassifyRequest ClassifyId(uint32_t id, const std::string& head) {
    v1::ClassifyRequest request;
    request.add_inputs()->mutable_token_ids()->add_ids(id);
    request.set_head(head);
    return request;
  }

  static std::vector<std::string> Labels(const v1::ClassifyResult& result) {
    std::vector<std::string> labels;
    for (const v1::LabelScore& score : result.labels()) labels.push_back(score.label());
    return labels;
  }
};

TEST_F(ClassifyTest, MostProbableFirstTiesByIndex) {
  StartServer();
  const v1::ClassifyResponse response = MustClassify(ClassifyId(7, "kind"));  // 7 % 3 == 1
  ASSERT_EQ(response.results_size(), 1);
  const v1::ClassifyResult& result = response.results(0);
  EXPECT_THAT(Labels(result), ElementsAre("code", "prose", "data"));
  EXPECT_EQ(result.labels(0).index(), 1);
  EXPECT_FLOAT_EQ(result.labels(0).probability(), 0.5f);
  EXPECT_FLOAT_EQ(result.labels(1).probability(), 0.25f);
  EXPECT_EQ(result.tokens(), 1);
  EXPECT_EQ(response.usage().tokens(), 1);
  EXPECT_EQ(response.usage().inputs(), 1);
  EXPECT_EQ(response.model().name(), "fake");
  EXPECT_GT(response.timing().total_ns(), 0);
}

TEST_F(ClassifyTest, TopKLimitsTheLabels) {
  StartServer();
  v1::ClassifyRequest request = ClassifyId(8, "size");
  request.set_top_k(2);
  EXPECT_THAT(Labels(MustClassify(request).results(0)), ElementsAre("large", "small"));
}

TEST_F(ClassifyTest, TheHeadReachesTheModel) {
  StartServer();
  std::vector<int> heads;
  model().set_fault([&](const RunItem& item) {
    heads.push_back(item.head);
    EXPECT_EQ(item.task, Task::kClassify);
    return absl::OkStatus();
  });
  MustClassify(ClassifyId(1, "size"));
  MustClassify(ClassifyId(1, "kind"));
  EXPECT_THAT(heads, ElementsAre(1, 0));
}

TEST_F(ClassifyTest, AHeadIsNeededAmongSeveral) {
  StartServer();
  const grpc::Status status = ClassifyStatus(ClassifyId(1, ""));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("kind, size"));
}

TEST_F(ClassifyTest, AnUnknownHeadIsRefused) {
  StartServer();
  const grpc::Status status = ClassifyStatus(ClassifyId(1, "mood"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("\"mood\""));
  EXPECT_THAT(status.error_message(), HasSubstr("kind, size"));
  EXPECT_EQ(model().items_run(), 0);
}

TEST_F(ClassifyTest, ATopKOutOfRangeIsRefused) {
  StartServer();
  for (const int top_k : {-1, 4}) {
    v1::ClassifyRequest request = ClassifyId(1, "kind");
    request.set_top_k(top_k);
    const grpc::Status status = ClassifyStatus(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("3 labels"));
  }
}

TEST_F(ClassifyTest, OneBadInputLeavesItsNeighboursAlone) {
  StartServer();
  v1::ClassifyRequest request = ClassifyTexts({"good", "", "fine"});
  request.set_head("kind");
  const v1::ClassifyResponse response = MustClassify(request);
  ASSERT_EQ(response.results_size(), 3);
  EXPECT_EQ(response.results(0).status().code(), 0);
  EXPECT_EQ(response.results(1).status().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(response.results(1).labels_size(), 0);
  EXPECT_EQ(response.results(2).status().code(), 0);
  EXPECT_EQ(response.usage().inputs(), 2);
}

}  // namespace
}  // namespace longwave
