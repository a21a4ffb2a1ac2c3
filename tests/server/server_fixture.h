#ifndef LONGWAVE_TESTS_SERVER_SERVER_FIXTURE_H_
#define LONGWAVE_TESTS_SERVER_SERVER_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "longwave/v1/inference.grpc.pb.h"
#include "longwave/v1/model.grpc.pb.h"
#include "server/server.h"
#include "tests/server/fake_model.h"
#include "tests/support/files.h"

namespace longwave {

// A real server in this process, on a free port of the loopback, whose models are fakes; and stubs
// that speak to it.
class ServerTest : public ::testing::Test {
 protected:
  ServerTest();

  // Starts the server with the model folders so far ("fake/1" unless others were made). Options may
  // be changed before.
  void StartServer();

  // A channel of its own, without limits on the client's side.
  std::shared_ptr<grpc::Channel> NewChannel() const;

  FakeModel& model(size_t index = 0) { return *models_[index]; }

  // The value of a series now; -1 when it is missing.
  double Metric(const std::string& series) const;
  // Asks again and again until a series has the value.
  void AwaitMetric(const std::string& series, double value) const;

  // A call that must be OK.
  v1::EncodeResponse MustEncode(const v1::EncodeRequest& request);
  v1::ClassifyResponse MustClassify(const v1::ClassifyRequest& request);

  // The status of a call that is not expected to be OK.
  grpc::Status EncodeStatus(const v1::EncodeRequest& request);
  grpc::Status ClassifyStatus(const v1::ClassifyRequest& request);

  // All chunks of a stream, and how it ended.
  std::vector<v1::EncodeStreamResponse> Stream(const v1::EncodeStreamRequest& request,
                                               grpc::Status* status);

  testing::TempFolder repository_;
  Server::Options options_;
  std::vector<FakeModel*> models_;  // owned by the server, in order of loading
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
  std::unique_ptr<v1::ModelService::Stub> model_stub_;
};

// A request of these texts.
v1::EncodeRequest EncodeTexts(const std::vector<std::string>& texts);
v1::EncodeStreamRequest StreamTexts(const std::vector<std::string>& texts);
v1::ClassifyRequest ClassifyTexts(const std::vector<std::string>& texts);

// The ids that the fake's tokenizer makes of a text.
std::vector<int32_t> Ids(const std::string& text);

// The little-endian float32 numbers of an embedding.
std::vector<float> Floats(const v1::Embedding& embedding);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_SERVER_FIXTURE_H_
