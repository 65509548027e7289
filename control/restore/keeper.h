// Keeps what the gateway knows across restarts: takes changes from control, and writes them in a thread of its own.
//
// Owner: Gateway. Thread: the methods are called by control and wait for nothing but a lock that is held for moves;
// load() and the destructor wait for the disk. Changes of about a second are written together, the last one of each
// key. Failure: what cannot be written is tried again and listed by problem(); above kMaxWaiting changes that wait, no
// more are taken and what is on the disk is removed, since it would be wrong.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control/restore/codec.h"
#include "control/restore/store.h"

namespace isthmus {

// Everything that was kept, decoded.
struct KeptState {
  std::vector<std::pair<KeptObject, KeptVersion>> objects;
  std::map<std::pair<std::string, std::string>, KeptTime> seen;  // by hub and name
  std::map<std::string, KeptClaims> clusters;
  std::map<IpAddress, KeptHolder> vips;
};

class Keeper {
 public:
  static constexpr std::size_t kMaxWaiting = 4'000'000;

  // What was kept before, and a keeper for what follows. An error: nothing will be kept.
  [[nodiscard]] static Result<std::unique_ptr<Keeper>> open(const std::string& directory, const std::string& name,
                                                            KeptState& kept);
  ~Keeper();  // writes what waits
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // What a hub has changed, in order.
  void objects(const std::string& hub, std::vector<ObjectDelta> deltas);
  // Other facts; those of one key replace each other.
  void seen(const std::string& hub, const std::string& name, const KeptTime& time);
  void claims(const std::string& cluster, const std::optional<KeptClaims>& claims);
  void holder(const IpAddress& vip, const std::optional<KeptHolder>& holder);

  // What an operator should know; nothing: all is well.
  [[nodiscard]] std::optional<Error> problem() const;

 private:
  struct Batch {
    std::string hub;
    std::vector<ObjectDelta> deltas;
  };
  explicit Keeper(std::unique_ptr<Store> store);
  void start();
  void run();
  [[nodiscard]] bool wait();  // for work; false: to stop after it
  void encode(std::vector<Batch> batches, std::map<std::string, std::optional<std::string>> facts);
  void write();
  void change(std::string key, std::optional<std::string> value);

  std::unique_ptr<Store> store_;
  std::map<std::string, std::optional<std::string>> pending_;  // the thread's
  std::thread thread_;

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable work_;
  std::vector<Batch> batches_;
  std::map<std::string, std::optional<std::string>> facts_;
  std::size_t waiting_ = 0;  // objects in batches_ and pending_
  bool stopping_ = false, overrun_ = false;
  std::optional<Error> start_problem_, write_problem_;
};

}  // namespace isthmus
