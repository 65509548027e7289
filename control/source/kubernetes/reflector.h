// Follows one resource of an API server: lists it (streamed, or page by page), watches it from there, lists again when
// the server no longer knows the place. Owner: ApiFollower. Thread: the io_context's.
//
// Failure: retried for ever, and what was read stays. 410 means list again; 401 fresh credentials; 429 and 5xx a pause,
// as long as the server asks or doubling; 403 and 404 a long pause, after the other versions of the kind were tried.
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
  std::vector<std::string> versions;  // "v1", "cilium.io/v2"; the first that is served counts
  bool optional = false;              // its absence is nothing to mend
  std::string label = {};             // in states, where its plural is another's too

  [[nodiscard]] const std::string& shown_name() const { return label.empty() ? plural : label; }
};
// "/apis/cilium.io/v2/ciliumnodes"; "/api/v1/pods".
[[nodiscard]] std::string resource_path(const ApiResource& resource, const std::string& version);

// What a reflector finds. Between list_begins() and list_ends() every object comes that is there; those that did not
// come are gone by then. A list that breaks off begins again.
class ReflectorSink {
 public:
  virtual ~ReflectorSink() = default;
  virtual void list_begins(std::size_t resource) = 0;
  virtual void list_ends(std::size_t resource) = 0;
  virtual void object_is(std::size_t resource, const std::string& version, const YamlNode& object) = 0;
  virtual void object_gone(std::size_t resource, const YamlNode& object) = 0;
  // The server refuses it (403) or does not have it (404).
  virtual void unavailable(std::size_t resource, unsigned status) = 0;
  // After one or several of the above, and when the state has changed.
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
  // Without `objects`, `rejected` and `bad`, which the sink knows.
  [[nodiscard]] HubState state() const;

 private:
  enum class Phase : std::uint8_t { kList, kStreamList, kWatch };
  struct Timer;

  void request();
  void send(const Credentials::Identity& identity);
  [[nodiscard]] std::string target();
  void on_head(const ApiHead& head);
  void on_body(std::string_view bytes);
  void on_end(const ApiEnd& end);
  bool on_event(std::string_view frame);
  bool on_bookmark(const WatchEvent& event);
  void on_page();
  void on_refusal();
  void on_not_served(const std::string& why);
  void watch_ended(const ApiEnd& end);
  void expired(const std::string& why);
  void list_done();

  // Drops what is under way, notes why, and asks again after the pause. `unsynced`: the state where nothing was listed.
  void fail(std::string why, std::chrono::milliseconds pause, HubState::Sync unsynced = HubState::Sync::kConnecting);
  void fail(std::string why) { fail(std::move(why), backoff()); }
  void again(std::chrono::milliseconds pause);
  [[nodiscard]] std::chrono::milliseconds backoff();

  const ApiTimes& times_;
  Credentials& credentials_;
  const ApiResource& resource_;
  std::size_t index_;
  ReflectorSink& sink_;
  std::string server_;
  ApiConnection connection_;
  std::unique_ptr<Timer> timer_;
  std::mt19937 random_{std::random_device{}()};

  Phase phase_ = Phase::kList;
  Credentials::Identity identity_;
  std::size_t version_ = 0, versions_missing_ = 0;
  std::string resource_version_, continue_;  // empty: list; the list's beginning
  bool streaming_, stream_next_ = true, paging_ = true;
  unsigned status_ = 0;
  std::optional<std::chrono::seconds> retry_after_;
  std::string body_;
  JsonFrames frames_;
  std::chrono::steady_clock::time_point begun_{};
  bool heard_ = false;  // an event or bookmark came in this watch
  std::chrono::milliseconds backoff_;
  unsigned expirations_ = 0, unauthorized_ = 0;

  bool synced_ = false;
  HubState::Sync sync_ = HubState::Sync::kConnecting;
  std::uint64_t events_ = 0;
  std::optional<std::chrono::steady_clock::time_point> last_event_;
  std::string last_error_;
};

}  // namespace isthmus
