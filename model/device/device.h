#ifndef LONGWAVE_MODEL_DEVICE_DEVICE_H_
#define LONGWAVE_MODEL_DEVICE_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

// What computes: one CPU or one GPU, behind one interface without LibTorch's or CUDA's types.
//
// Errors of all calls: RESOURCE_EXHAUSTED when the device or the host has no memory for it,
// INTERNAL when the device failed; after that nothing on it can be relied on. Nothing here throws.
namespace longwave {

struct DeviceInfo {
  std::string name;         // "cpu", "cuda:0": what a user asks for
  std::string description;  // "NVIDIA H100 80GB HBM3, compute capability 9.0"
  bool is_cuda = false;
  int index = 0;  // among the devices of its kind

  // Work of several streams shares the device, by their priorities.
  bool shares_streams = false;

  // What is captured is replayed faster than it was launched.
  bool fast_graphs = false;
};

// Bytes. "Used" is what this process's tensors hold; "reserved" is what the allocator keeps for
// them, used or not.
struct DeviceMemory {
  int64_t total = 0;
  int64_t free = 0;   // for any process
  int64_t limit = 0;  // of `reserved`, as SetMemoryLimit() set it
  int64_t used = 0;
  int64_t reserved = 0;
  int64_t peak_used = 0;  // since the last ResetPeakMemory()

  // What this process could still take.
  int64_t available() const;
};

// A point in the work of a stream. Thread-safe.
class Event {
 public:
  virtual ~Event() = default;

  // Whether the work before it has ended. Never blocks.
  virtual bool Done() const = 0;

  // Blocks until it has; the error of the device if it failed meanwhile.
  virtual absl::Status Wait() const = 0;
};

// Work that was recorded once and runs again as a whole, on the same memory. Thread-compatible; to
// be destroyed before its stream, and not while it runs.
class Graph {
 public:
  virtual ~Graph() = default;

  // Queues it on the stream that captured it.
  virtual absl::Status Replay() = 0;
};

enum class StreamPriority { kLow, kNormal, kHigh };

// A queue of work that runs in order, beside the work of other streams. Thread-compatible.
class Stream {
 public:
  virtual ~Stream() = default;

  // Calls `launch` with this stream as the one where LibTorch puts the work of the calling thread,
  // and turns what it throws into a status. What it launched may still be running afterwards.
  virtual absl::Status Run(absl::FunctionRef<absl::Status()> launch) = 0;

  // Records what `launch` would run, without running it. `launch` has to have run once before, must
  // not wait for the device, and all memory that it allocates belongs to the graph, as long as
  // graphs of this stream live; graphs of one stream share that memory, so each overwrites what the
  // one before returned.
  virtual absl::StatusOr<std::unique_ptr<Graph>> Capture(std::function<absl::Status()> launch) = 0;

  // Marks the end of what has been queued so far.
  virtual absl::StatusOr<std::unique_ptr<Event>> Record() = 0;

  // Blocks until everything queued has ended.
  virtual absl::Status Synchronize() = 0;
};

// Memory of the host that the device copies from and to while the CPU does something else.
class PinnedBuffer {
 public:
  virtual ~PinnedBuffer() = default;
  virtual void* data() = 0;
  virtual int64_t size() const = 0;  // bytes
};

// Thread-safe.
class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;

  // The stream must not outlive the device.
  virtual absl::StatusOr<std::unique_ptr<Stream>> CreateStream(StreamPriority priority) = 0;

  virtual absl::StatusOr<std::unique_ptr<PinnedBuffer>> AllocatePinned(int64_t bytes) = 0;

  virtual absl::StatusOr<DeviceMemory> Memory() const = 0;

  // Largest number of bytes that this process may reserve, 1 to total; beyond, allocations fail
  // with RESOURCE_EXHAUSTED. UNIMPLEMENTED where the device has no allocator of its own.
  virtual absl::Status SetMemoryLimit(int64_t bytes) = 0;

  virtual void ResetPeakMemory() = 0;

  // Gives reserved memory that is not used back to the system.
  virtual absl::Status ReleaseCachedMemory() = 0;

  // Blocks until everything on all streams has ended.
  virtual absl::Status Synchronize() = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_DEVICE_H_
