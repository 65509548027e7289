// A Kubernetes API server for tests: HTTPS on the loopback interface, with the parts of list and watch that a client
// can observe, and with faults that tests inject. Threads: one per connection; every method may be called from any
// thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "test/support/kubernetes/certificates.h"
#include "test/support/kubernetes/served_connection.h"

namespace isthmus {

// A response sent instead of the normal one, once.
struct InjectedFault {
  enum class Request : std::uint8_t { kAny, kList, kWatch };
  Request request = Request::kAny;
  unsigned status = 200;    // not 200: the response has this status
  std::string retry_after;  // header; empty: none
  std::string message = "injected by the test";
  bool close = false;               // close the connection without a response
  std::string stream;               // for status 200: the body of the response
  bool only_with_continue = false;  // only for requests with a continue token
};

struct ApiServerConfig {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;             // 0: any that is free
  bool intermediate = false;          // its authority is signed by another one
  std::uint64_t first_version = 100;  // first resourceVersion; a replacement server must continue after the last one
};

class ApiServer {
 public:
  explicit ApiServer(const ApiServerConfig& config = {});
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  [[nodiscard]] std::string url() const;
  [[nodiscard]] const CertificateAuthority& authority() const { return authority_; }
  // A kubeconfig for this server with `user` as the user's mapping, in JSON.
  [[nodiscard]] std::string kubeconfig(const nlohmann::json& user,
                                       const nlohmann::json& cluster_extra = nlohmann::json::object()) const;

  // Adds a collection, such as "/api/v1/pods". Requests for others get 404.
  void serve(const std::string& collection, const std::string& kind, const std::string& version);
  void serve_cluster_kinds();  // the kinds of a cluster with Cilium
  void drop(const std::string& collection);
  // Adds or changes the object named by its metadata, with a new resourceVersion.
  void put(const std::string& collection, nlohmann::json object);
  void remove(const std::string& collection, const std::string& ns, const std::string& name);
  // As it stands; null if there is none.
  [[nodiscard]] nlohmann::json object(const std::string& collection, const std::string& ns,
                                      const std::string& name) const;
  // Adds the path of an object's status, such as "/apis/x/v1/clusters/west/status", for which faults can be injected
  // and which can be forbidden. A server-side apply to it is merged: lists by the names or types of their items.
  void serve_status(const std::string& collection, const std::string& name);
  // Removes the object without an event and drops the history, as a compaction does: older watches must list again.
  void remove_without_event(const std::string& collection, const std::string& ns, const std::string& name);
  void compact(const std::string& collection);
  void bookmark(const std::string& collection);
  // New watches from an older version must list again; open watches continue.
  void forget_history(const std::string& collection);
  void forbid(const std::string& collection, bool on);  // every request gets 403

  void inject(const std::string& collection, InjectedFault fault);
  void end_faults(const std::string& collection);  // those that are left
  void require_token(const std::string& token);    // empty: no token is required
  void require_client_certificate() { require_client_ = true; }
  void set_streaming(bool on) { streaming_ = on; }
  void set_chunk_bytes(std::size_t bytes) { chunk_bytes_ = bytes; }  // maximum size of TLS records and HTTP chunks
  // Open watches stay open but send nothing more; new ones are normal.
  void mute_watches();
  void break_connections();
  // Invalidates the continue tokens handed out so far.
  void expire_pages() { ++page_epoch_; }

  [[nodiscard]] std::vector<ServedRequest> requests() const;
  [[nodiscard]] std::size_t count(const std::string& collection, const std::string& word_in_query = "") const;

 private:
  struct Event {
    std::uint64_t version = 0;
    std::string text;  // the frame
  };
  struct Collection {
    std::string kind, version;
    std::map<std::string, nlohmann::json> objects;
    std::deque<Event> events;
    std::uint64_t oldest = 0;  // watches from an older version get 410
    bool forbidden = false;
    std::deque<InjectedFault> faults;
  };

  void accept_all();
  void serve_connection(ServedConnection& connection);
  bool answer(ServedConnection& connection, const ServedRequest& request);
  bool answer_list(ServedConnection& connection, const ServedRequest& request, const Collection& collection);
  bool answer_apply(ServedConnection& connection, const ServedRequest& request);
  bool answer_watch(ServedConnection& connection, const ServedRequest& request);
  bool stream_events(ServedConnection& connection, const std::string& path, std::uint64_t from);
  bool apply_fault(ServedConnection& connection, const ServedRequest& request, bool& keep);
  void add_event(Collection& collection, const char* type, const nlohmann::json& object);
  static std::string frame(const char* type, const nlohmann::json& object);

  CertificateAuthority root_{"test root"}, authority_;
  ssl_ctx_st* tls_ = nullptr;
  std::string address_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false}, streaming_{true}, require_client_{false};
  std::atomic<std::size_t> chunk_bytes_{1 << 14};
  std::atomic<unsigned> page_epoch_{0}, mute_epoch_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Collection> collections_;
  std::uint64_t version_;
  std::string token_;
  std::vector<ServedRequest> requests_;
  std::vector<std::unique_ptr<ServedConnection>> connections_;
  std::thread acceptor_;
};

}  // namespace isthmus
