// Keeps what the gateway knows across restarts: takes changes from control, and writes them in a thread of its own.
//
// Owner: Gateway. Thread: the methods are called by control and wait for nothing but a lock that is held for moves;
// open() waits for the disk, and the destructor for kMaxStop and the write at hand. Changes of about a second are
// written together, the last one of each key. Failure: what cannot be written is tried again and listed by problem().
// Where more than so many bytes wait, or what is on the disk turns out to be damaged, that is removed, since it
// would be wrong; it is lost(), and its user tells everything again after begin_anew().
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
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
  std::map<KeptPart, KeptTime> holds;         // until then
  std::map<std::string, std::string> owners;  // by hub; under an empty name, whose state it is
};

// Whose state it is now, as KeptState::owners. No text: it cannot be told at present, and what was kept stands. A hub
// that is not named is not configured.
using KeptOwners = std::map<std::string, std::optional<std::string>>;

class Keeper {
 public:
  static constexpr std::size_t kMaxWaiting = std::size_t{512} << 20;  // bytes
  static constexpr std::chrono::seconds kMaxStop{10};

  // What was kept before, and a keeper for what follows. What belongs to another cluster or hub than `owners` is
  // removed, with a problem that says so. An error: nothing will be kept.
  [[nodiscard]] static Result<std::unique_ptr<Keeper>> open(const std::string& directory, const std::string& name,
                                                            const KeptOwners& owners, KeptState& kept,
                                                            std::size_t max_waiting = kMaxWaiting);
  ~Keeper();  // writes what waits
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // What a hub has changed, in order.
  void objects(const std::string& hub, std::vector<ObjectDelta> deltas);
  // All that a hub has, after begin_anew(). Waits without a bound of its own: it is as large as the model.
  void all_objects(const std::string& hub, std::vector<ObjectDelta> deltas);
  // Other facts; those of one key replace each other.
  void seen(const std::string& hub, const std::string& name, const KeptTime& time);
  void forget_seen(const std::string& hub, const std::string& name);
  void claims(const std::string& cluster, const std::optional<KeptClaims>& claims);
  void hold(const KeptPart& part, const std::optional<KeptTime>& until);
  void holder(const IpAddress& vip, const std::optional<KeptHolder>& holder);

  // Writes what waits and lets another process have what is kept; then calls `released` from the keeper's thread. What
  // is told meanwhile waits for resume(), and is forgotten without it.
  void release(std::function<void()> released);
  void resume();

  // Whether nothing is taken until begin_anew(), and that may be called now.
  [[nodiscard]] bool lost() const;
  void begin_anew();
  // How often it has begun anew: what was told before has to be told again.
  [[nodiscard]] std::uint64_t beginnings() const;

  // What an operator should know; nothing: all is well.
  [[nodiscard]] std::optional<Error> problem() const;

 private:
  struct Batch {
    std::string hub;
    std::vector<ObjectDelta> deltas;
    std::size_t weight = 0;
  };
  explicit Keeper(std::unique_ptr<Store> store);
  [[nodiscard]] Status take_over(const KeptOwners& owners, KeptState& kept);
  void start();
  void run();
  [[nodiscard]] bool wait();  // for work; false: to stop after it
  [[nodiscard]] bool close_if_released();
  void encode(std::vector<Batch> batches, std::map<std::string, std::optional<std::string>> facts);
  void write();
  void lose(const std::string& why);
  void change(std::string key, std::optional<std::string> value);

  std::unique_ptr<Store> store_;
  KeptOwners owners_;                                          // constant
  std::size_t max_waiting_ = 0;                                // constant
  std::map<std::string, std::optional<std::string>> pending_;  // the thread's
  std::thread thread_;

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable work_;
  std::vector<Batch> batches_;
  std::map<std::string, std::optional<std::string>> facts_;
  std::size_t waiting_ = 0;  // bytes in batches_ and pending_
  bool stopping_ = false, overrun_ = false, lost_ = false;
  bool release_ = false;              // until resume(): another process has it, or is to have it
  std::function<void()> on_release_;  // empty: called
  std::chrono::steady_clock::time_point stop_by_, anew_from_;
  std::chrono::seconds pause_{1};  // before it begins anew
  std::uint64_t beginnings_ = 0;
  std::optional<Error> start_problem_, write_problem_;
};

}  // namespace isthmus
