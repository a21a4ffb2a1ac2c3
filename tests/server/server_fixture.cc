#include "tests/server/server_fixture.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/server/http_get.h"

namespace longwave {

ServerTest::ServerTest() {
  options_.model_repository = repository_.path();
  options_.listen = "127.0.0.1:0";
  options_.metrics_listen = "";  // its HTTP server takes 2 s to stop
}

void ServerTest::StartServer() {
  if (std::filesystem::is_empty(repository_.path())) repository_.MakeFolder("fake/1");
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Create(
      options_,
      [this](const std::string&, const std::string& device) {
        ModelInfo info = FakeModel::DefaultInfo();
        info.device = device;
        auto model = std::make_unique<FakeModel>(std::move(info));
        models_.push_back(model.get());
        return model;
      },
      &Clock::Monotonic());
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  const absl::Status started = server_->Start();
  ASSERT_TRUE(started.ok()) << started;
  for (FakeModel* model : models_) model->ResetCounts();
  const std::shared_ptr<grpc::Channel> channel = NewChannel();
  stub_ = v1::InferenceService::NewStub(channel);
  model_stub_ = v1::ModelService::NewStub(channel);
}

std::shared_ptr<grpc::Channel> ServerTest::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->grpc_port()),
                                   grpc::InsecureChannelCredentials(), arguments);
}

double ServerTest::Metric(const std::string& series) const {
  return SeriesValue(prometheus::TextSerializer().Serialize(server_->metrics_registry()->Collect()),
                     series);
}

void ServerTest::AwaitMetric(const std::string& series, double value) const {
  while (Metric(series) != value) std::this_thread::yield();
}

v1::EncodeResponse ServerTest::MustEncode(const v1::EncodeRequest& request) {
  grpc::ClientContext context;
  v1::EncodeResponse response;
  const grpc::Status status = stub_->Encode(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

v1::ClassifyResponse ServerTest::MustClassify(const v1::ClassifyRequest& request) {
  grpc::ClientContext context;
  v1::ClassifyResponse response;
  const grpc::Status status = stub_->Classify(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

grpc::Status ServerTest::EncodeStatus(const v1::EncodeRequest& request) {
  grpc::ClientContext context;
  v1::EncodeResponse response;
  return stub_->Encode(&context, request, &response);
}

grpc::Status ServerTest::ClassifyStatus(const v1::ClassifyRequest& request) {
  grpc::ClientContext context;
  v1::ClassifyResponse response;
  return stub_->Classify(&context, request, &response);
}

std::vector<v1::EncodeStreamResponse> ServerTest::Stream(const v1::EncodeStreamRequest& request,
                                                         grpc::Status* status) {
  grpc::ClientContext context;
  const auto reader = stub_->EncodeStream(&context, request);
  std::vector<v1::EncodeStreamResponse> chunks;
  for (v1::EncodeStreamResponse chunk; reader->Read(&chunk);) chunks.push_back(chunk);
  *status = reader->Finish();
  return chunks;
}

v1::EncodeRequest EncodeTexts(const std::vector<std::string>& texts) {
  v1::EncodeRequest request;
  for (const std::string& text : texts) request.add_inputs()->set_text(text);
  return request;
}

v1::EncodeStreamRequest StreamTexts(const std::vector<std::string>& texts) {
  v1::EncodeStreamRequest request;
  for (const std::string& text : texts) request.add_inputs()->set_text(text);
  return request;
}

v1::ClassifyRequest ClassifyTexts(const std::vector<std::string>& texts) {
  v1::ClassifyRequest request;
  for (const std::string& text : texts) request.add_inputs()->set_text(text);
  return request;
}

std::vector<int32_t> Ids(const std::string& text) {
  std::vector<int32_t> ids = {256};
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  ids.push_back(257);
  return ids;
}

std::vector<float> Floats(const v1::Embedding& embedding) {
  std::vector<float> values(embedding.data().size() / sizeof(float));
  std::memcpy(values.data(), embedding.data().data(), values.size() * sizeof(float));
  return values;
}

}  // namespace longwave
