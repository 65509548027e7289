// Follows one range of an etcd: lists it in pages, then watches it, and lists it again after the watch was lost.
//
// Owner: HubConnection or RemoteCluster. Thread: the loop's. Rules for correctness:
// - All pages of a list are read at the revision of its first page; the watch starts at the next revision.
// - A lagging watcher receives batches whose header has the store's current revision although older events are still to
//   come. The watch therefore resumes after the last event's own revision; the header's revision is used only when the
//   reply has no events.
// - After a lost watch, keys are removed only at the end of the next list.
// - A reply from another etcd (its cluster id differs or is missing), or from a store whose revision went back, ends
// the
//   connection: two histories must not be mixed.
// Failure: errors of this range only (permission denied, compaction) are retried here with exponential back-off; errors
// of the connection are passed to the handler with connection_lost().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/source/etcd/client.h"
#include "control/source/etcd/loop.h"

namespace isthmus {

// The etcd cluster that a connection talks to, set by its first reply.
struct EtcdPin {
  std::uint64_t cluster_id = 0;
  bool pinned = false;
  // False if the header is from another etcd cluster, or has no cluster id.
  [[nodiscard]] bool matches(const EtcdHeader& header);
};

struct FollowerOptions {
  // Keys of the first page. Further pages grow up to about page_bytes, because the server visits all remaining keys for
  // each page (60,000 addresses took 16 s in pages of 256 keys, 2 s in pages of 2,000).
  std::int64_t page = 256;
  std::int64_t page_bytes = 2 << 20;
  std::chrono::milliseconds first_backoff{50}, max_backoff{60'000};
  std::chrono::milliseconds rewatch{50};  // delay after a stream that ended without an error
};

class EtcdFollower {
 public:
  // A handler must not destroy a follower from within a callback, not even in connection_lost().
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void list_begins() {}
    // A key of the list, or a later change. `suffix`: the key without the prefix. Views are valid during the call.
    virtual void put(std::string_view suffix, std::string_view value) = 0;
    virtual void removed(std::string_view suffix) = 0;
    // Every key of the list was passed to put().
    virtual void list_ends() = 0;
    virtual void reply_received() {}  // any reply of the server
    // The server denies or fails to serve this range; it is retried later.
    virtual void range_failed(const EtcdFailure& failure) = 0;
    // The connection is unusable; no other callback follows.
    virtual void connection_lost(const std::string& why, EtcdFailure::Kind kind) = 0;
  };

  // `prefix_length`: bytes to cut from the front of each key. All references must outlive this object.
  EtcdFollower(EtcdLoop& loop, EtcdClient& client, EtcdPin& pin, const FollowerOptions& options, EtcdRange range,
               std::size_t prefix_length, Handler& handler);
  void start();

  [[nodiscard]] bool listed() const { return listed_; }  // the list is complete, and changes are being watched
  [[nodiscard]] std::int64_t next_revision() const { return next_; }

 private:
  void relist();
  void list_page(std::string from);
  void size_next_page(const EtcdRangeReply& reply);
  void on_page(const EtcdRangeReply& reply);
  void on_list_failure(const EtcdFailure& failure);
  void watch();
  void on_watch(const EtcdWatchReply& reply);
  void on_watch_end(const EtcdFailure* failure);
  void on_canceled(const EtcdWatchReply& reply);
  void relist_later();
  void fail(const std::string& why, EtcdFailure::Kind kind = EtcdFailure::Kind::kConnection);

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
