#include "test/support/kubernetes/api_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>

namespace isthmus {
namespace {

using nlohmann::json;

std::string value_of(const std::string& query, const std::string& key) {
  for (std::size_t at = 0; at < query.size();) {
    const std::size_t end = std::min(query.find('&', at), query.size());
    const std::string pair = query.substr(at, end - at);
    if (pair.starts_with(key + "=")) {
      return pair.substr(key.size() + 1);
    }
    at = end + 1;
  }
  return {};
}

std::string name_of(const json& object) {
  const json& metadata = object.at("metadata");
  return metadata.value("namespace", "") + "/" + metadata.value("name", "");
}

std::string status_text(unsigned status, const std::string& message) {
  return json{{"kind", "Status"}, {"apiVersion", "v1"}, {"status", "Failure"}, {"message", message}, {"code", status}}
      .dump();
}

// Server-side apply as far as these lists go: a field manager of a gateway owns the entry of that name.
void apply_status(json& status, const json& wanted, const std::string& manager) {
  const auto items = [](const json& of, const char* list) { return of.value(list, json::array()); };
  for (const auto& [list, key] : {std::pair{"gateways", "name"}, std::pair{"conditions", "type"}}) {
    json kept = json::array();
    for (const json& item : items(status, list)) {
      const json others = items(wanted, list);
      const bool replaced = std::any_of(others.begin(), others.end(),
                                        [&, key = key](const json& other) { return other[key] == item[key]; });
      const bool dropped = manager == "isthmus-gateway-" + item[key].get<std::string>();
      if (!replaced && !dropped) {
        kept.push_back(item);
      }
    }
    for (const json& item : items(wanted, list)) {
      kept.push_back(item);
    }
    status[list] = kept;
  }
}

}  // namespace

ApiServer::ApiServer(const ApiServerConfig& config)
    : authority_("test authority", config.intermediate ? &root_ : nullptr),
      address_(config.address),
      version_(config.first_version) {
  tls_ = make_tls(authority_.sign("api server", "IP:" + address_ + ",DNS:api.test"));
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int reuse = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(config.port);
  socklen_t bytes = sizeof address;
  if (inet_pton(AF_INET, address_.c_str(), &address.sin_addr) != 1 ||
      bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

ApiServer::~ApiServer() {
  stopping_ = true;
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  close(listener_);
  break_connections();
  changed_.notify_all();
  for (const auto& connection : connections_) {
    connection->thread.join();
    SSL_free(connection->ssl);
    close(connection->fd);
  }
  SSL_CTX_free(tls_);
}

std::string ApiServer::url() const { return "https://" + address_ + ":" + std::to_string(port_); }

std::string ApiServer::kubeconfig(const json& user, const json& cluster_extra) const {
  json cluster{{"server", url()}};
  cluster.update(cluster_extra);
  return json{{"apiVersion", "v1"},
              {"kind", "Config"},
              {"current-context", "test"},
              {"clusters", {{{"name", "c"}, {"cluster", cluster}}}},
              {"users", {{{"name", "u"}, {"user", user}}}},
              {"contexts", {{{"name", "test"}, {"context", {{"cluster", "c"}, {"user", "u"}}}}}}}
      .dump(1);
}

void ApiServer::serve(const std::string& collection, const std::string& kind, const std::string& version) {
  const std::lock_guard lock(mutex_);
  Collection& served = collections_[collection];
  served.kind = kind;
  served.version = version;
  served.oldest = version_;  // no client can have an older version
}

void ApiServer::serve_cluster_kinds() {
  for (const auto& [plural, kind] : std::map<std::string, std::string>{
           {"namespaces", "Namespace"}, {"services", "Service"}, {"pods", "Pod"}, {"nodes", "Node"}}) {
    serve("/api/v1/" + plural, kind, "v1");
  }
  serve("/apis/discovery.k8s.io/v1/endpointslices", "EndpointSlice", "discovery.k8s.io/v1");
  serve("/apis/networking.k8s.io/v1/networkpolicies", "NetworkPolicy", "networking.k8s.io/v1");
  for (const auto& [plural, kind] :
       std::map<std::string, std::string>{{"ciliumendpoints", "CiliumEndpoint"},
                                          {"ciliumidentities", "CiliumIdentity"},
                                          {"ciliumnodes", "CiliumNode"},
                                          {"ciliumnetworkpolicies", "CiliumNetworkPolicy"},
                                          {"ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy"}}) {
    serve("/apis/cilium.io/v2/" + plural, kind, "cilium.io/v2");
  }
}

void ApiServer::drop(const std::string& collection) {
  const std::lock_guard lock(mutex_);
  collections_.erase(collection);
  changed_.notify_all();
}

std::string ApiServer::frame(const char* type, const json& object) {
  return json{{"type", type}, {"object", object}}.dump() + "\n";
}

void ApiServer::add_event(Collection& collection, const char* type, const json& object) {
  collection.events.push_back({version_, frame(type, object)});
  changed_.notify_all();
}

void ApiServer::put(const std::string& collection, json object) {
  const std::lock_guard lock(mutex_);
  Collection& in = collections_.at(collection);
  object["kind"] = in.kind;
  object["apiVersion"] = in.version;
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
  const std::string name = name_of(object);
  const char* type = in.objects.contains(name) ? "MODIFIED" : "ADDED";
  in.objects[name] = object;
  add_event(in, type, object);
}

void ApiServer::remove(const std::string& collection, const std::string& ns, const std::string& name) {
  const std::lock_guard lock(mutex_);
  Collection& in = collections_.at(collection);
  json object = in.objects.at(ns + "/" + name);
  in.objects.erase(ns + "/" + name);
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
  add_event(in, "DELETED", object);
}

json ApiServer::object(const std::string& collection, const std::string& ns, const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto& objects = collections_.at(collection).objects;
  const auto at = objects.find(ns + "/" + name);
  return at == objects.end() ? json() : at->second;
}

void ApiServer::serve_status(const std::string& collection, const std::string& name) {
  const std::lock_guard lock(mutex_);
  collections_[collection + "/" + name + "/status"].oldest = version_;
}

void ApiServer::remove_without_event(const std::string& collection, const std::string& ns, const std::string& name) {
  const std::lock_guard lock(mutex_);
  Collection& in = collections_.at(collection);
  in.objects.erase(ns + "/" + name);
  in.events.clear();
  in.oldest = ++version_;
}

void ApiServer::compact(const std::string& collection) {
  const std::lock_guard lock(mutex_);
  Collection& in = collections_.at(collection);
  in.events.clear();
  in.oldest = ++version_;
  changed_.notify_all();
}

void ApiServer::bookmark(const std::string& collection) {
  const std::lock_guard lock(mutex_);
  Collection& in = collections_.at(collection);
  add_event(
      in, "BOOKMARK",
      {{"kind", in.kind}, {"apiVersion", in.version}, {"metadata", {{"resourceVersion", std::to_string(++version_)}}}});
}

void ApiServer::forget_history(const std::string& collection) {
  const std::lock_guard lock(mutex_);
  collections_.at(collection).oldest = version_;
}

void ApiServer::forbid(const std::string& collection, bool on) {
  const std::lock_guard lock(mutex_);
  collections_.at(collection).forbidden = on;
}

void ApiServer::inject(const std::string& collection, InjectedFault fault) {
  const std::lock_guard lock(mutex_);
  collections_.at(collection).faults.push_back(std::move(fault));
}

void ApiServer::end_faults(const std::string& collection) {
  const std::lock_guard lock(mutex_);
  collections_.at(collection).faults.clear();
}

void ApiServer::require_token(const std::string& token) {
  const std::lock_guard lock(mutex_);
  token_ = token;
}

void ApiServer::mute_watches() { ++mute_epoch_; }

void ApiServer::break_connections() {
  const std::lock_guard lock(mutex_);
  for (const auto& connection : connections_) {
    shutdown(connection->fd, SHUT_RDWR);
  }
  changed_.notify_all();
}

std::vector<ServedRequest> ApiServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::size_t ApiServer::count(const std::string& collection, const std::string& word) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(requests_.begin(), requests_.end(), [&](const ServedRequest& request) {
    return request.path == collection && request.has(word);
  }));
}

void ApiServer::accept_all() {
  // OpenSSL may write to a connection that the peer has closed.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (!stopping_) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      continue;
    }
    auto connection = std::make_unique<ServedConnection>();
    connection->fd = fd;
    connection->chunk_bytes = chunk_bytes_;
    connection->ssl = SSL_new(tls_);
    SSL_set_fd(connection->ssl, fd);
    const std::lock_guard lock(mutex_);
    ServedConnection& added = *connections_.emplace_back(std::move(connection));
    added.thread = std::thread([this, &added] { serve_connection(added); });
  }
}

void ApiServer::serve_connection(ServedConnection& connection) {
  if (SSL_accept(connection.ssl) == 1) {
    ServedRequest request;
    request.client = connection.peer_name();
    while (!stopping_ && connection.read_request(request) && answer(connection, request)) {
    }
  }
  shutdown(connection.fd, SHUT_RDWR);
}

// Applies the next injected fault of the collection. False: there is none, send the normal response.
bool ApiServer::apply_fault(ServedConnection& connection, const ServedRequest& request, bool& keep) {
  const bool watch = request.has("watch=true");
  InjectedFault fault;
  {
    const std::lock_guard lock(mutex_);
    auto& waiting = collections_.at(request.path).faults;
    const auto request_kind = waiting.empty() ? InjectedFault::Request::kAny : waiting.front().request;
    if (waiting.empty() || (request_kind == InjectedFault::Request::kList && watch) ||
        (request_kind == InjectedFault::Request::kWatch && !watch) ||
        (waiting.front().only_with_continue && !request.has("continue="))) {
      return false;
    }
    fault = waiting.front();
    waiting.pop_front();
  }
  if (fault.close) {
    keep = false;
  } else if (fault.status != 200) {
    const std::string header = fault.retry_after.empty() ? "" : "Retry-After: " + fault.retry_after + "\r\n";
    keep = connection.answer(fault.status, status_text(fault.status, fault.message), header);
  } else {
    keep = connection.begin_chunks() && connection.write_chunks(fault.stream) && connection.end_chunks();
  }
  return true;
}

bool ApiServer::answer(ServedConnection& connection, const ServedRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    if ((!token_.empty() && request.authorization != "Bearer " + token_) ||
        (require_client_ && request.client.empty())) {
      return connection.answer(401, status_text(401, "Unauthorized"));
    }
    if (!collections_.contains(request.path)) {
      return connection.answer(404, status_text(404, "the server could not find the requested resource"));
    }
    if (collections_.at(request.path).forbidden) {
      const std::string what = request.method == "PATCH" ? "user u cannot patch resource" : "cannot list resource";
      return connection.answer(403, status_text(403, what));
    }
  }
  bool keep = true;
  if (apply_fault(connection, request, keep)) {
    return keep;
  }
  if (request.method == "PATCH") {
    return answer_apply(connection, request);
  }
  if (request.has("watch=true")) {
    return answer_watch(connection, request);
  }
  Collection copy;
  {
    const std::lock_guard lock(mutex_);
    const Collection& in = collections_.at(request.path);
    copy.kind = in.kind;
    copy.version = in.version;
    copy.objects = in.objects;
    copy.oldest = version_;
  }
  return answer_list(connection, request, copy);
}

// `collection.oldest` is the version of the list. A continue token is "<epoch>_<position>".
bool ApiServer::answer_list(ServedConnection& connection, const ServedRequest& request, const Collection& collection) {
  const std::string token = value_of(request.query, "continue"), limit_text = value_of(request.query, "limit");
  std::size_t first = 0;
  if (!token.empty()) {
    const std::size_t mark = token.find('_');
    if (std::stoul(token.substr(0, mark)) != page_epoch_) {
      return connection.answer(410, status_text(410, "The provided continue parameter is too old"));
    }
    first = std::stoul(token.substr(mark + 1));
  }
  const std::size_t limit = limit_text.empty() ? collection.objects.size() : std::stoul(limit_text);
  json list{{"kind", collection.kind + "List"},
            {"apiVersion", collection.version},
            {"metadata", {{"resourceVersion", std::to_string(collection.oldest)}}},
            {"items", json::array()}};
  std::size_t position = 0;
  for (const auto& [name, object] : collection.objects) {
    if (position >= first && position < first + limit) {
      json item = object;  // items of a list omit their kind
      item.erase("kind");
      item.erase("apiVersion");
      list["items"].push_back(std::move(item));
    }
    ++position;
  }
  if (first + limit < collection.objects.size()) {
    list["metadata"]["continue"] = std::to_string(page_epoch_) + "_" + std::to_string(first + limit);
  }
  const std::string text = list.dump();
  return connection.begin_chunks() && connection.write_chunks(text) && connection.end_chunks();
}

bool ApiServer::answer_apply(ServedConnection& connection, const ServedRequest& request) {
  const std::string path = request.path.substr(0, request.path.rfind('/'));
  const std::size_t slash = path.rfind('/');
  json now;
  {
    const std::lock_guard lock(mutex_);
    now = collections_.at(path.substr(0, slash)).objects.at(path.substr(slash));
  }
  if (!now.contains("status")) {
    now["status"] = json::object();
  }
  const json wanted = json::parse(request.body);
  if (wanted.is_array()) {
    try {
      now = now.patch(wanted);
    } catch (const json::exception& error) {
      return connection.answer(422, status_text(422, error.what()));
    }
  } else {
    apply_status(now["status"], wanted.value("status", json::object()), value_of(request.query, "fieldManager"));
  }
  put(path.substr(0, slash), now);
  return connection.answer(200, now.dump());
}

bool ApiServer::answer_watch(ServedConnection& connection, const ServedRequest& request) {
  std::uint64_t from = 0;
  std::string initial;
  if (request.has("sendInitialEvents=true")) {
    if (!streaming_) {
      return connection.answer(422, status_text(422, "sendInitialEvents is forbidden"));
    }
    const std::lock_guard lock(mutex_);
    const Collection& in = collections_.at(request.path);
    for (const auto& [name, object] : in.objects) {
      initial += frame("ADDED", object);
    }
    from = version_;
    initial += frame(
        "BOOKMARK",
        {{"kind", in.kind},
         {"apiVersion", in.version},
         {"metadata",
          {{"resourceVersion", std::to_string(version_)}, {"annotations", {{"k8s.io/initial-events-end", "true"}}}}}});
  } else {
    from = std::stoull(value_of(request.query, "resourceVersion"));
    const std::lock_guard lock(mutex_);
    if (from < collections_.at(request.path).oldest) {
      return connection.answer(410, status_text(410, "too old resource version"));
    }
  }
  return connection.begin_chunks() && connection.write_chunks(initial) && stream_events(connection, request.path, from);
}

bool ApiServer::stream_events(ServedConnection& connection, const std::string& path, std::uint64_t from) {
  const unsigned muted = mute_epoch_;
  while (true) {
    std::string text;
    bool expired = false;
    {
      std::unique_lock lock(mutex_);
      const auto has_events = [&] {
        const auto at = collections_.find(path);
        return stopping_ || at == collections_.end() || at->second.oldest > from ||
               (!at->second.events.empty() && at->second.events.back().version > from);
      };
      // A closed connection is otherwise noticed only on the next write.
      if (!changed_.wait_for(lock, std::chrono::milliseconds(50), has_events)) {
        char byte = 0;
        if (recv(connection.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
          return false;
        }
        continue;
      }
      if (stopping_ || !collections_.contains(path)) {
        return false;
      }
      const Collection& in = collections_.at(path);
      expired = in.oldest > from;
      for (const Event& event : in.events) {
        text += event.version > from ? event.text : "";
      }
      from = version_;
    }
    if (expired) {
      const std::string error = frame("ERROR", json::parse(status_text(410, "too old resource version")));
      return connection.write_chunks(error) && connection.end_chunks();
    }
    if (muted == mute_epoch_ && !connection.write_chunks(text)) {
      return false;
    }
  }
}

}  // namespace isthmus
