#ifndef LONGWAVE_TESTS_CLIENT_FAKE_SERVER_H_
#define LONGWAVE_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "longwave/v1/inference.grpc.pb.h"
#include "longwave/v1/model.grpc.pb.h"

namespace longwave::client {

// A gRPC server in the test's process, on a free port, whose answers can be told from the question.
// It serves the model "toy", version 2, and "toy", version 1; both are byte-level with vectors of
// size 3 and a head "size" of the labels "short" and "long".
//
//   Encode        a document of n bytes (or ids) that begins with the byte (or id) b becomes [n, b,
//   1]; without pooling, token i
//                 becomes [n, b, i]
//   Classify      "long" with probability 0.75 from 10 bytes on, else "short" with 0.75; the other
//   label has 0.25 either        one that begins with "bad" fails alone with INVALID_ARGUMENT
//
// Thread-safe.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  // host:port.
  const std::string& address() const { return address_; }

  // Ends the service: nobody listens at the address any more.
  void Stop();

  // Tells the standard health service that the server does not serve.
  void SetNotServing();

  // The next `count` inference requests fail as a whole.
  void FailNext(int count, grpc::Status status);

  // The next `count` inference requests fail as a whole, because the server has no room for them
  // before `delay` has passed.
  void RefuseNext(int count, absl::Duration delay);

  // Answers to inference requests lack their last result.
  void DropLastResult();

  // From now on inference requests wait inside the server, until Release().
  void Hold();
  void Release();
  // Blocks until `count` requests are inside.
  void WaitUntilInside(int count);

  int requests() const;     // inference requests so far, failed attempts included
  int most_inside() const;  // that were inside at one time
  v1::EncodeOptions last_encode_options() const;
  std::vector<int> documents_per_request() const;

 private:
  class Inference;
  class Models;

  std::unique_ptr<Inference> inference_;
  std::unique_ptr<Models> models_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_TESTS_CLIENT_FAKE_SERVER_H_
