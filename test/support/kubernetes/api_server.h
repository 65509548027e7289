// A Kubernetes API server for tests: HTTPS on the loopback, with the parts of list and watch that a client can see, and
// with the misbehaviour that tests ask for. Threads: one for every connection; every method may be called from any.
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

// An answer in place of the ordinary one.
struct Misbehaviour {
  enum class Of : std::uint8_t { kAny, kList, kWatch };
  Of of = Of::kAny;
  unsigned status = 200;    // not 200: this status
  std::string retry_after;  // header, where not empty
  std::string message = "as the test wants it";
  bool close = false;  // the connection is closed without an answer
  std::string stream;  // watches of status 200: these bytes, and the end of the answer
  bool only_with_continue = false;
};

struct ApiServerPlace {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;             // 0: any that is free
  std::uint64_t first_version = 100;  // of resources; one that follows another must begin where that one ended
};

class ApiServer {
 public:
  explicit ApiServer(const ApiServerPlace& place = {});
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  [[nodiscard]] std::string url() const;
  [[nodiscard]] const CertificateAuthority& authority() const { return authority_; }
  // A kubeconfig for this server with `user` as the user's mapping, in JSON.
  [[nodiscard]] std::string kubeconfig(const nlohmann::json& user,
                                       const nlohmann::json& cluster_extra = nlohmann::json::object()) const;

  // A collection, "/api/v1/pods"; asked for others the server answers 404.
  void serve(const std::string& collection, const std::string& kind, const std::string& version);
  void serve_cluster_kinds();  // those of a plain cluster with Cilium
  void drop(const std::string& collection);
  // Adds or changes the object, with a new resourceVersion; its metadata names it.
  void put(const std::string& collection, nlohmann::json object);
  void remove(const std::string& collection, const std::string& name_space, const std::string& name);
  // What stood before is gone without events, as after a compaction: watches from before must list again.
  void remove_unseen(const std::string& collection, const std::string& name_space, const std::string& name);
  void compact(const std::string& collection);
  void bookmark(const std::string& collection);
  // Watches from before now must list again; those that are open go on.
  void forget_history(const std::string& collection);
  void forbid(const std::string& collection, bool on);  // 403 to everybody

  void misbehave(const std::string& collection, Misbehaviour how);
  void require_token(const std::string& token);  // empty: anybody
  void require_client_certificate() { require_client_ = true; }
  void set_streaming(bool on) { streaming_ = on; }
  void set_piece(std::size_t bytes) { piece_ = bytes; }  // TLS records and chunks no longer than this
  // Watches stay open and say nothing more; new ones are ordinary.
  void mute_watches();
  void break_connections();
  // The expiry of continue tokens handed out so far.
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
    std::uint64_t oldest = 0;  // watches from before this are told 410
    bool forbidden = false;
    std::deque<Misbehaviour> misbehaviour;
  };

  void accept_all();
  void serve_connection(ServedConnection& connection);
  bool answer(ServedConnection& connection, const ServedRequest& request);
  bool answer_list(ServedConnection& connection, const ServedRequest& request, const Collection& collection);
  bool answer_watch(ServedConnection& connection, const ServedRequest& request);
  bool stream_events(ServedConnection& connection, const std::string& path, std::uint64_t from);
  bool misbehaves(ServedConnection& connection, const ServedRequest& request, bool& keep);
  void add_event(Collection& collection, const char* type, const nlohmann::json& object);
  static std::string frame(const char* type, const nlohmann::json& object);

  CertificateAuthority authority_{"test authority"};
  ssl_ctx_st* tls_ = nullptr;
  std::string address_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false}, streaming_{true}, require_client_{false};
  std::atomic<std::size_t> piece_{1 << 14};
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
