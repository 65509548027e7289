// One connection to an etcd server: ranges, watches and writes, all asynchronous.
//
// Owner: HubConnection or EtcdRegistration, which create a new client for every connection attempt, so that the current
// certificates are used and no revision is carried over to another server. Thread: the loop's; callbacks come from the
// loop, never from within the call that starts a request. Destroying the handle of a call cancels it; no callback
// follows. Failure: a call fails once, with a kind that says how to recover.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace isthmus {

class EtcdLoop;

struct EtcdFailure {
  enum class Kind : std::uint8_t {
    kConnection,       // unreachable, disconnected, or timed out: reconnect
    kUnauthenticated,  // the server does not accept our identity: reconnect with other certificates
    kDenied,           // our role does not allow this range
    kCompacted,        // the revision was compacted: list again
    kOther
  };
  Kind kind = Kind::kOther;
  std::string text;
};

// Views into a reply; valid during the callback.
struct EtcdKeyValue {
  std::string_view key, value;
  std::int64_t mod_revision = 0;
};

struct EtcdHeader {
  bool present = false;
  std::uint64_t cluster_id = 0;  // of the etcd, not of Cilium
  std::int64_t revision = 0;
};

// `end` empty: the single key `key`. Otherwise all keys in [key, end).
struct EtcdRange {
  std::string key, end;
};
// All keys that start with `prefix`.
[[nodiscard]] EtcdRange prefix_range(std::string prefix);

struct EtcdRangeReply {
  EtcdHeader header;
  std::vector<EtcdKeyValue> kvs;  // sorted by key
  bool more = false;
};

struct EtcdEvent {
  bool deleted = false;
  EtcdKeyValue kv;
};

struct EtcdWatchReply {
  EtcdHeader header;
  bool created = false, canceled = false;
  std::int64_t compact_revision = 0;
  std::string_view reason;
  std::vector<EtcdEvent> events;
};

class EtcdCall {
 public:
  virtual ~EtcdCall() = default;
};
using EtcdCallHandle = std::unique_ptr<EtcdCall>;

class EtcdClient {
 public:
  using OnFailure = std::function<void(const EtcdFailure&)>;
  using OnRange = std::function<void(const EtcdRangeReply&)>;
  using OnWatch = std::function<void(const EtcdWatchReply&)>;
  using OnDone = std::function<void(const EtcdHeader&)>;
  using OnLease = std::function<void(std::int64_t lease, std::chrono::seconds ttl)>;  // ttl 0: expired
  // Null: the stream ended without an error.
  using OnEnd = std::function<void(const EtcdFailure*)>;

  virtual ~EtcdClient() = default;
  // One page of at most `limit` keys at `revision` (0: the latest).
  [[nodiscard]] virtual EtcdCallHandle range(const EtcdRange& range, std::int64_t limit, std::int64_t revision,
                                             OnRange done, OnFailure failed) = 0;
  [[nodiscard]] virtual EtcdCallHandle watch(const EtcdRange& range, std::int64_t start_revision, OnWatch reply,
                                             OnEnd end) = 0;
  [[nodiscard]] virtual EtcdCallHandle put(const std::string& key, const std::string& value, std::int64_t lease,
                                           OnDone done, OnFailure failed) = 0;
  [[nodiscard]] virtual EtcdCallHandle grant(std::chrono::seconds ttl, OnLease done, OnFailure failed) = 0;
  [[nodiscard]] virtual EtcdCallHandle revoke(std::int64_t lease, OnDone done, OnFailure failed) = 0;
  // Renews the lease once.
  [[nodiscard]] virtual EtcdCallHandle keep_alive(std::int64_t lease, OnLease done, OnFailure failed) = 0;
  // False once the first transport is lost. gRPC would reconnect on its own, possibly to another server.
  [[nodiscard]] virtual bool connected() const = 0;
};

struct EtcdClientOptions {
  std::string endpoint;  // URL as configured: "https://host:port"
  bool plaintext = false, skip_verify = false;
  std::string ca, certificate, key;  // PEM; the last two may both be empty
  std::chrono::milliseconds call_timeout{60'000};
  std::chrono::milliseconds keepalive_time{15'000}, keepalive_timeout{25'000};
};
[[nodiscard]] std::unique_ptr<EtcdClient> connect_etcd(EtcdLoop& loop, const EtcdClientOptions& options);

}  // namespace isthmus
