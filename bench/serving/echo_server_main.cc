// longwave-echo-server: the least that gRPC itself takes for the messages of an Encode. It reads a
// request's bytes, does not look at them, and answers with the bytes of an EncodeResponse as large
// as a real one.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "longwave/v1/inference.pb.h"

namespace longwave::bench {
namespace {

grpc::ByteBuffer Answer(int64_t hidden_size) {
  v1::EncodeResponse response;
  v1::EncodeResult* result = response.add_results();
  result->mutable_status();
  result->set_tokens(512);
  result->mutable_embedding()->set_type(v1::EMBEDDING_TYPE_FLOAT32);
  result->mutable_embedding()->add_shape(hidden_size);
  result->mutable_embedding()->set_data(std::string(hidden_size * sizeof(float), '\1'));
  response.mutable_model()->set_name("null");
  response.mutable_model()->set_version(1);
  response.mutable_usage()->set_tokens(512);
  response.mutable_usage()->set_inputs(1);
  response.mutable_timing()->set_queue_ns(10'000);
  response.mutable_timing()->set_total_ns(10'000);
  const grpc::Slice slice(response.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// gRPC's callback API, which the server uses too.
class CallbackEcho final : public grpc::CallbackGenericService {
 public:
  explicit CallbackEcho(grpc::ByteBuffer answer) : answer_(std::move(answer)) {}

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Reactor(answer_);
  }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(const grpc::ByteBuffer& answer) : answer_(answer) { StartRead(&request_); }
    void OnReadDone(bool ok) override {
      if (ok) {
        StartWriteAndFinish(&answer_, grpc::WriteOptions(), grpc::Status::OK);
      } else {
        Finish(grpc::Status::CANCELLED);
      }
    }
    void OnDone() override { delete this; }

   private:
    const grpc::ByteBuffer& answer_;
    grpc::ByteBuffer request_;
  };

  const grpc::ByteBuffer answer_;
};

// One completion queue and one thread: the fastest that gRPC offers on few cores.
class QueueEcho {
 public:
  QueueEcho(grpc::AsyncGenericService& service, grpc::ServerCompletionQueue& queue,
            grpc::ByteBuffer answer)
      : service_(service), queue_(queue), answer_(std::move(answer)) {}

  // Serves until the queue is shut down. Blocks.
  void Serve() {
    constexpr int kWaitingCalls = 64;
    for (int i = 0; i < kWaitingCalls; ++i) Await();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
      Call* const call = static_cast<Call*>(tag);
      if (!ok || call->step == Call::Step::kAnswering) {
        delete call;
      } else if (call->step == Call::Step::kArriving) {
        Await();
        call->step = Call::Step::kReading;
        call->stream.Read(&call->request, call);
      } else {
        call->step = Call::Step::kAnswering;
        call->stream.WriteAndFinish(answer_, grpc::WriteOptions(), grpc::Status::OK, call);
      }
    }
  }

 private:
  struct Call {
    enum class Step { kArriving, kReading, kAnswering };
    grpc::GenericServerContext context;
    grpc::GenericServerAsyncReaderWriter stream{&context};
    grpc::ByteBuffer request;
    Step step = Step::kArriving;
  };

  void Await() {
    Call* const call = new Call;
    service_.RequestCall(&call->context, &call->stream, &queue_, &queue_, call);
  }

  grpc::AsyncGenericService& service_;
  grpc::ServerCompletionQueue& queue_;
  const grpc::ByteBuffer answer_;
};

int Main(int argc, char** argv) {
  std::string listen = "127.0.0.1:0";
  std::string api = "queue";
  int64_t hidden_size = 768;
  CLI::App app(
      "Answers every Encode with the same bytes: the floor under longwave-null-server.\n"
      "  longwave-echo-server --listen 127.0.0.1:8470 --api callback");
  app.add_option("--listen", listen, "host:port; port 0 picks a free one")->capture_default_str();
  app.add_option("--api", api, "queue (one thread) or callback")
      ->check(CLI::IsMember({"queue", "callback"}))
      ->capture_default_str();
  app.add_option("--hidden-size", hidden_size, "Floats of an embedding")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  CallbackEcho callback(Answer(hidden_size));
  grpc::AsyncGenericService generic;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  if (api == "callback") {
    builder.RegisterCallbackGenericService(&callback);
  } else {
    builder.RegisterAsyncGenericService(&generic);
    queue = builder.AddCompletionQueue();
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::cerr << "longwave-echo-server: cannot listen on " << listen << "\n";
    return 1;
  }
  std::cout << "listening on port " << port << std::endl;
  if (queue != nullptr) QueueEcho(generic, *queue, Answer(hidden_size)).Serve();
  server->Wait();
  return 0;
}

}  // namespace
}  // namespace longwave::bench

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as server/main.cc
  return longwave::bench::Main(argc, argv);
}
