#include "test/support/kubernetes/api_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <cstring>

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

int take_certificate(int, X509_STORE_CTX*) { return 1; }

SSL_CTX* make_tls(const KeyPair& pair) {
  SSL_CTX* tls = SSL_CTX_new(TLS_server_method());
  BIO* certificate_text = BIO_new_mem_buf(pair.certificate.data(), static_cast<int>(pair.certificate.size()));
  BIO* key_text = BIO_new_mem_buf(pair.key.data(), static_cast<int>(pair.key.size()));
  X509* certificate = PEM_read_bio_X509(certificate_text, nullptr, nullptr, nullptr);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(key_text, nullptr, nullptr, nullptr);
  if (SSL_CTX_use_certificate(tls, certificate) != 1 || SSL_CTX_use_PrivateKey(tls, key) != 1) {
    std::abort();
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  BIO_free(certificate_text);
  BIO_free(key_text);
  SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, take_certificate);
  return tls;
}

}  // namespace

struct ApiServer::Connection {
  int fd = -1;
  SSL* ssl = nullptr;
  std::thread thread;
  std::string unread;
  std::size_t piece = 1 << 14;

  bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t now = std::min(bytes.size(), piece);
      if (SSL_write(ssl, bytes.data(), static_cast<int>(now)) <= 0) {
        return false;
      }
      bytes.remove_prefix(now);
    }
    return true;
  }
  bool write_chunks(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t now = std::min(bytes.size(), piece);
      std::array<char, 32> head{};
      std::snprintf(head.data(), head.size(), "%zx\r\n", now);
      if (!write(std::string(head.data()) + std::string(bytes.substr(0, now)) + "\r\n")) {
        return false;
      }
      bytes.remove_prefix(now);
    }
    return true;
  }
  bool answer(unsigned status, const std::string& body, const std::string& headers = "") {
    return write("HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: application/json\r\n" + headers +
                 "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  bool begin_chunks() {
    return write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  }
  bool end_chunks() { return write("0\r\n\r\n"); }
  // The next request's head; false at the end of the connection.
  bool read_request(ServedRequest& request) {
    std::size_t end = 0;
    while ((end = unread.find("\r\n\r\n")) == std::string::npos) {
      std::array<char, 4096> buffer{};
      const int got = SSL_read(ssl, buffer.data(), buffer.size());
      if (got <= 0) {
        return false;
      }
      unread.append(buffer.data(), static_cast<std::size_t>(got));
    }
    std::string head = unread.substr(0, end + 2);
    unread.erase(0, end + 4);
    const std::size_t first = head.find(' '), second = head.find(' ', first + 1);
    const std::string target = head.substr(first + 1, second - first - 1);
    const std::size_t question = std::min(target.find('?'), target.size());
    request.path = target.substr(0, question);
    request.query = question < target.size() ? target.substr(question + 1) : "";
    for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
      const std::size_t line_end = head.find("\r\n", at), colon = head.find(':', at);
      std::string name = head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      request.headers[name] = head.substr(colon + 2, line_end - colon - 2);
      at = line_end + 2;
    }
    request.authorization = request.headers["authorization"];
    return true;
  }
};

ApiServer::ApiServer() {
  tls_ = make_tls(authority_.sign("api server", "IP:127.0.0.1,DNS:api.test"));
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 64) != 0 ||
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

std::string ApiServer::url() const { return "https://127.0.0.1:" + std::to_string(port_); }

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
  Collection& made = collections_[collection];
  made.kind = kind;
  made.version = version;
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

void ApiServer::remove(const std::string& collection, const std::string& name_space, const std::string& name) {
  const std::lock_guard lock(mutex_);
  Collection& in = collections_.at(collection);
  json object = in.objects.at(name_space + "/" + name);
  in.objects.erase(name_space + "/" + name);
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
  add_event(in, "DELETED", object);
}

void ApiServer::remove_unseen(const std::string& collection, const std::string& name_space, const std::string& name) {
  const std::lock_guard lock(mutex_);
  Collection& in = collections_.at(collection);
  in.objects.erase(name_space + "/" + name);
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

void ApiServer::misbehave(const std::string& collection, Misbehaviour how) {
  const std::lock_guard lock(mutex_);
  collections_.at(collection).misbehaviour.push_back(std::move(how));
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
  // OpenSSL writes to connections that the other side has closed.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (!stopping_) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      continue;
    }
    auto connection = std::make_unique<Connection>();
    connection->fd = fd;
    connection->piece = piece_;
    connection->ssl = SSL_new(tls_);
    SSL_set_fd(connection->ssl, fd);
    const std::lock_guard lock(mutex_);
    Connection& kept = *connections_.emplace_back(std::move(connection));
    kept.thread = std::thread([this, &kept] { serve_connection(kept); });
  }
}

void ApiServer::serve_connection(Connection& connection) {
  if (SSL_accept(connection.ssl) == 1) {
    ServedRequest request;
    if (X509* certificate = SSL_get1_peer_certificate(connection.ssl)) {
      std::array<char, 128> name{};
      X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(), name.size());
      request.client = name.data();
      X509_free(certificate);
    }
    while (!stopping_ && connection.read_request(request) && answer(connection, request)) {
    }
  }
  shutdown(connection.fd, SHUT_RDWR);
}

// Applies what the next misbehaviour of the collection says; false: the ordinary answer follows.
bool ApiServer::misbehaves(Connection& connection, const ServedRequest& request, bool& keep) {
  const bool watch = request.has("watch=true");
  Misbehaviour how;
  {
    const std::lock_guard lock(mutex_);
    auto& waiting = collections_.at(request.path).misbehaviour;
    const auto wanted = waiting.empty() ? Misbehaviour::Of::kAny : waiting.front().of;
    if (waiting.empty() || (wanted == Misbehaviour::Of::kList && watch) ||
        (wanted == Misbehaviour::Of::kWatch && !watch) ||
        (waiting.front().only_with_continue && !request.has("continue="))) {
      return false;
    }
    how = waiting.front();
    waiting.pop_front();
  }
  if (how.close) {
    keep = false;
  } else if (how.status != 200) {
    const std::string header = how.retry_after.empty() ? "" : "Retry-After: " + how.retry_after + "\r\n";
    keep = connection.answer(how.status, status_text(how.status, how.message), header);
  } else {
    keep = connection.begin_chunks() && connection.write_chunks(how.stream) && connection.end_chunks();
  }
  return true;
}

bool ApiServer::answer(Connection& connection, const ServedRequest& request) {
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
      return connection.answer(403, status_text(403, "cannot list resource"));
    }
  }
  bool keep = true;
  if (misbehaves(connection, request, keep)) {
    return keep;
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

// `collection.oldest` is the version of the list. A continue token is "<epoch>_<place>".
bool ApiServer::answer_list(Connection& connection, const ServedRequest& request, const Collection& collection) {
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
  std::size_t place = 0;
  for (const auto& [name, object] : collection.objects) {
    if (place >= first && place < first + limit) {
      json item = object;  // items say nothing of their kind
      item.erase("kind");
      item.erase("apiVersion");
      list["items"].push_back(std::move(item));
    }
    ++place;
  }
  if (first + limit < collection.objects.size()) {
    list["metadata"]["continue"] = std::to_string(page_epoch_) + "_" + std::to_string(first + limit);
  }
  const std::string text = list.dump();
  return connection.begin_chunks() && connection.write_chunks(text) && connection.end_chunks();
}

bool ApiServer::answer_watch(Connection& connection, const ServedRequest& request) {
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

bool ApiServer::stream_events(Connection& connection, const std::string& path, std::uint64_t from) {
  const unsigned muted = mute_epoch_;
  while (true) {
    std::string text;
    bool expired = false;
    {
      std::unique_lock lock(mutex_);
      const auto news = [&] {
        const auto at = collections_.find(path);
        return stopping_ || at == collections_.end() || at->second.oldest > from ||
               (!at->second.events.empty() && at->second.events.back().version > from);
      };
      // A connection that is broken is noticed when something is written to it.
      if (!changed_.wait_for(lock, std::chrono::milliseconds(50), news)) {
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
