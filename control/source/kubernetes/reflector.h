// Follows one resource of an API server: lists it (streamed, or in pages), watches it from there, and lists it again
// when the server no longer has that resource version. Owner: ApiSource. Thread: the io_context's.
//
// Failure: everything is retried without limit, and the objects read stay. 410: list again. 401: reload the
// credentials. 429 and 5xx: wait for Retry-After or an exponential backoff. 403 and 404: try the other versions of the
// kind, then wait `ApiTimes::unavailable`; for a kind of policy that is forbidden and was never listed, the backoff.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/tree.h"
#include "control/source/kubernetes/api_connection.h"
#include "control/source/kubernetes/api_text.h"
#include "control/source/kubernetes/credentials.h"
#include "control/source/kubernetes/times.h"
#include "control/source/source.h"

namespace isthmus {

struct ApiResource {
  std::string plural, kind;
  std::vector<std::string> versions;  // "v1", "cilium.io/v2"; the first that is served is used
  bool optional = false;              // its absence is not a problem
  std::string label = {};             // name in states, where the plural is ambiguous
  bool policy = false;                // one that policies are made of, see Source::policies_listed()
  bool may_be_forbidden = false;      // 403 is not a problem either
  std::string ns = {}, name = {};     // of the one object to read; empty: all

  [[nodiscard]] const std::string& shown_name() const { return label.empty() ? plural : label; }
};
// "/apis/cilium.io/v2/ciliumnodes"; "/api/v1/pods"; "/api/v1/namespaces/kube-system/configmaps".
[[nodiscard]] std::string resource_path(const ApiResource& resource, const std::string& version);

// Receives what a reflector reads. Between list_begins() and list_ends() every existing object is put; objects that
// were not put have been removed. An interrupted list starts over with list_begins().
class ReflectorSink {
 public:
  virtual ~ReflectorSink() = default;
  virtual void list_begins(std::size_t resource) = 0;
  virtual void list_ends(std::size_t resource) = 0;
  virtual void put(std::size_t resource, const std::string& version, const YamlNode& object) = 0;
  virtual void removed(std::size_t resource, const YamlNode& object) = 0;
  // The server forbids the resource (403) or does not serve it (404).
  virtual void unavailable(std::size_t resource, unsigned status) = 0;
  // The server watches it again from where the last watch ended.
  virtual void resumed(std::size_t resource) = 0;
  // Called after one or more of the above, and when the state has changed.
  virtual void flush() = 0;
};

class Reflector {
 public:
  Reflector(boost::asio::io_context& io, const ApiAccess& access, Credentials& credentials, const ApiTimes& times,
            const ApiResource& resource, std::size_t index, bool streaming, ReflectorSink& sink);
  ~Reflector();
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;

  void start() { request(); }
  // Without `objects`, `rejected` and `invalid_keys`, which only the sink knows.
  [[nodiscard]] HubState state() const;

 private:
  enum class Phase : std::uint8_t { kList, kStreamList, kWatch };
  struct Timer;

  void request();
  void send(const Credentials::Identity& identity);
  [[nodiscard]] std::string target();
  void on_head(const ApiHead& head);
  void on_body(std::string_view bytes);
  void on_end(const ApiOutcome& end);
  bool on_event(std::string_view frame);
  bool on_bookmark(const WatchEvent& event);
  void on_page();
  void on_error_status();
  void on_unavailable(const std::string& why);
  void on_watch_end(const ApiOutcome& end);
  void on_expired(const std::string& why);
  void on_list_end();

  // Cancels the request in progress, records the error and retries after the pause. `unsynced`: the state to show if
  // nothing was listed yet.
  void fail(std::string why, std::chrono::milliseconds pause, HubState::Sync unsynced = HubState::Sync::kConnecting);
  void fail(std::string why) { fail(std::move(why), backoff()); }
  void request_after(std::chrono::milliseconds pause);
  [[nodiscard]] std::chrono::milliseconds backoff();

  const ApiTimes& times_;
  Credentials& credentials_;
  const ApiResource& resource_;
  std::size_t index_;
  ReflectorSink& sink_;
  std::string server_, address_;  // address_: from which an answer came last
  ApiConnection connection_;
  std::unique_ptr<Timer> timer_;
  std::mt19937 random_{std::random_device{}()};

  Phase phase_ = Phase::kList;
  Credentials::Identity identity_;
  std::size_t version_ = 0, versions_tried_ = 0;
  std::string resource_version_, continue_;  // empty: list first; empty: first page
  bool streaming_, stream_next_ = true, paging_ = true;
  unsigned status_ = 0;
  std::optional<std::chrono::seconds> retry_after_;
  std::string body_;
  JsonFrames frames_;
  std::chrono::steady_clock::time_point started_at_{};
  bool received_ = false;  // an event or bookmark was received in this watch
  std::chrono::milliseconds backoff_;
  unsigned expirations_ = 0, pages_expired_ = 0, unauthorized_ = 0;
  bool forbidden_ = false;  // one of the versions tried

  bool synced_ = false;
  HubState::Sync sync_ = HubState::Sync::kConnecting;
  std::uint64_t events_ = 0;
  std::optional<std::chrono::steady_clock::time_point> last_event_;
  std::string last_error_;
};

}  // namespace isthmus
