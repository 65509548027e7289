// A client's connection to the test API server: TLS, requests, responses and streams. Thread: its own. Write errors are
// returned, as a client may disconnect at any time.
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
  std::string method, path, query, body, authorization, client;  // `client`: the common name of its certificate
  std::map<std::string, std::string> headers;                    // names in lower case
  [[nodiscard]] bool has(const std::string& word) const { return query.find(word) != std::string::npos; }
};

struct ServedConnection {
  int fd = -1;
  ssl_st* ssl = nullptr;
  std::thread thread;
  std::string unread;
  std::size_t chunk_bytes = 1 << 14;  // maximum size of TLS records and HTTP chunks

  bool write(std::string_view bytes);
  bool write_chunks(std::string_view bytes);
  bool answer(unsigned status, const std::string& body, const std::string& headers = "");
  bool begin_chunks();
  bool end_chunks() { return write("0\r\n\r\n"); }
  // Reads the next request, with its body; false at the end of the connection.
  bool read_request(ServedRequest& request);
  // The common name of the client's certificate; empty: it sent none.
  [[nodiscard]] std::string peer_name() const;

 private:
  bool read_more();
};

// A server context that accepts any client certificate, or none. The caller frees it.
[[nodiscard]] ssl_ctx_st* make_tls(const KeyPair& pair);

}  // namespace isthmus
