// One client's connection to the test API server: TLS, requests in, answers and streams out. Thread: its own; write
// errors are returned, since a client may leave at any time.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include "test/support/kubernetes/certificates.h"

struct ssl_st;
struct ssl_ctx_st;

namespace isthmus {

struct ServedRequest {
  std::string path, query, authorization, client;  // `client`: the name in its certificate
  std::map<std::string, std::string> headers;      // names in lower case
  [[nodiscard]] bool has(const std::string& word) const { return query.find(word) != std::string::npos; }
};

struct ServedConnection {
  int fd = -1;
  ssl_st* ssl = nullptr;
  std::thread thread;
  std::string unread;
  std::size_t piece = 1 << 14;  // TLS records and chunks are no longer

  bool write(std::string_view bytes);
  bool write_chunks(std::string_view bytes);
  bool answer(unsigned status, const std::string& body, const std::string& headers = "");
  bool begin_chunks();
  bool end_chunks() { return write("0\r\n\r\n"); }
  // The next request's head; false at the end of the connection.
  bool read_request(ServedRequest& request);
  // In the client's certificate; empty: it has none.
  [[nodiscard]] std::string peer_name() const;
};

// A server's context that takes any client's certificate, or none. The caller frees it.
[[nodiscard]] ssl_ctx_st* make_tls(const KeyPair& pair);

}  // namespace isthmus
