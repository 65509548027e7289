// Keeps up with one range of an etcd: lists it in pages, then watches it, and lists it again when the watch was lost.
//
// Owner: a hub's connection or one of its clusters. Thread: the loop's. The rules that make it right:
// - The list is of one revision, its first page's; the watch goes on from the one after.
// - A lagging watcher is sent batches that are stamped with the store's present revision although more events follow,
//   so the place to resume from is the last event's own revision; a stamp counts only where nothing came with it.
// - After a lost watch nothing is deleted until a new list has come to its end.
// - A reply of another etcd than the first (its cluster id), of none, or of an older history ends the connection: two
//   histories must not be spliced.
// Failure: what only concerns this range (a role that does not allow it, a compaction) is tried again here, ever more
// slowly; what concerns the connection is the handler's, by lost().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/source/etcd/client.h"
#include "control/source/etcd/loop.h"

namespace isthmus {

// The etcd that a connection has talked to so far.
struct EtcdPin {
  std::uint64_t cluster_id = 0;
  bool pinned = false;
  // False: this header is not of the same etcd.
  [[nodiscard]] bool holds(const EtcdHeader& header);
};

struct FollowerOptions {
  // Keys of the first page. Further ones grow to some page_bytes: a server looks at all keys that are left for each
  // page (60,000 addresses took 16 s by 256, 2 s by 2,000).
  std::int64_t page = 256;
  std::int64_t page_bytes = 2 << 20;
  std::chrono::milliseconds first_backoff{50}, longest_backoff{60'000};
  std::chrono::milliseconds rewatch{50};  // after a stream that closed without an error
};

class EtcdFollower {
 public:
  // It destroys no follower from within a callback, not even by lost().
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void list_begins() {}
    // Keys without the range's prefix; views valid during the call. A key of the list, or a change of it.
    virtual void put(std::string_view tail, std::string_view value) = 0;
    virtual void gone(std::string_view tail) = 0;
    // Everything that is there has been put.
    virtual void list_ends() = 0;
    virtual void heard() {}  // any reply
    // The server refuses this range; it is asked again later.
    virtual void refused(const EtcdFailure& failure) = 0;
    // The connection is of no more use; nothing else is called after it.
    virtual void lost(const std::string& why, EtcdFailure::Kind kind) = 0;
  };

  // `prefix` is cut from keys; `range` lies within it. All references outlive this object.
  EtcdFollower(EtcdLoop& loop, EtcdClient& client, EtcdPin& pin, const FollowerOptions& options, EtcdRange range,
               std::size_t prefix_length, Handler& handler);
  void start();

  [[nodiscard]] bool listed() const { return listed_; }  // and watching, as far as we know
  [[nodiscard]] std::int64_t next_revision() const { return next_; }

 private:
  void list_anew();
  void list_page(std::string from);
  void size_next_page(const EtcdRangeReply& reply);
  void on_page(const EtcdRangeReply& reply);
  void on_list_failure(const EtcdFailure& failure);
  void watch();
  void on_watch(const EtcdWatchReply& reply);
  void on_watch_end(const EtcdFailure* failure);
  void on_canceled(const EtcdWatchReply& reply);
  void again_later();
  void lose(const std::string& why, EtcdFailure::Kind kind = EtcdFailure::Kind::kConnection);

  EtcdClient& client_;
  EtcdPin& pin_;
  FollowerOptions options_;
  EtcdRange range_;
  std::size_t prefix_length_;
  Handler& handler_;
  EtcdTimer timer_;
  EtcdCallHandle call_;
  std::int64_t list_revision_ = 0, next_ = 0, page_ = 0;
  std::chrono::milliseconds backoff_;
  bool listed_ = false, lost_ = false;
};

}  // namespace isthmus
