#ifndef LONGWAVE_SERVER_BATCHING_FAIR_QUEUE_H_
#define LONGWAVE_SERVER_BATCHING_FAIR_QUEUE_H_

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <utility>

#include "absl/container/node_hash_map.h"
#include "server/batching/work_item.h"

namespace longwave {

// Waiting items of many clients, in the order in which they are to be computed: weighted
// self-clocked fair queueing (Golestani, INFOCOM 1994), the work being counted in predicted time.
// While a client has items waiting, it gets its weight's part of the device, however many items
// others send, and however many others come; time that a client leaves unused is not saved up.
//
// Within a client, priorities share the client's part in the same way, with weights of 1, 4 and 16,
// so that no priority starves. An item of low priority is charged four times to its client, so that
// it leaves room to other clients. A higher priority gains nothing at their cost.
//
// Thread-compatible.
class FairQueue {
 public:
  struct Client;

  // An item's place; a member of what its owner keeps about the item. Stays where it is in memory
  // while it is in the queue.
  struct Entry {
    uint64_t client = 0;
    double weight = 1;  // of the client, above 0
    Priority priority = Priority::kNormal;
    double cost = 1;  // above 0
    void* owner = nullptr;

    // Of the queue.
    Client* queued_with = nullptr;  // null: not in a queue
    std::list<Entry*>::iterator position;
  };

  FairQueue() = default;
  FairQueue(const FairQueue&) = delete;
  FairQueue& operator=(const FairQueue&) = delete;

  // Puts an entry behind those of its client and priority.
  void Push(Entry& entry);

  // The next to be computed; null when the queue is empty.
  Entry* Front() const;

  // Takes Front() out, to be computed: its client is charged.
  void PopFront();

  // Takes any entry out for nothing.
  void Erase(Entry& entry);

  bool empty() const { return ready_.empty(); }

  // Sum of the costs of all that wait.
  double backlog() const { return ready_.empty() ? 0 : backlog_; }

  // How much will have been computed when further items of `cost` of this client are done, these
  // included, if nobody else sends more. O(clients).
  double BacklogUpTo(uint64_t client, double weight, double cost) const;

  // Clients of which something waits.
  size_t clients() const { return clients_.size(); }

  struct Level {
    std::list<Entry*> entries;
    double start = 0;  // virtual, of its first entry
  };
  struct Client {
    uint64_t id = 0;
    double weight = 1;
    double finish = 0;      // virtual, of what was popped last
    uint64_t sequence = 0;  // since when its next entry is the next
    double level_time = 0;
    double backlog = 0;
    int64_t entries = 0;
    std::array<Level, kPriorityCount> levels;

    const Level& NextLevel() const;
    // Virtual, of its next entry.
    double NextFinish() const;
  };

 private:
  // Virtual finish of its next entry, its sequence; the client.
  using Ready = std::map<std::pair<double, uint64_t>, Client*>;

  static Ready::key_type Position(const Client& client) {
    return {client.NextFinish(), client.sequence};
  }
  // Takes an entry out of its client, which is not in `ready_`; puts the client back or forgets it.
  void Remove(Entry& entry);

  absl::node_hash_map<uint64_t, Client> clients_;  // each has entries
  Ready ready_;                                    // all of them
  double time_ = 0;  // virtual: the finish of the last entry that was popped
  uint64_t last_sequence_ = 0;
  double backlog_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_FAIR_QUEUE_H_
