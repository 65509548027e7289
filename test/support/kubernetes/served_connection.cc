#include "test/support/kubernetes/served_connection.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>

namespace isthmus {
namespace {

int accept_any_certificate(int, X509_STORE_CTX*) { return 1; }

}  // namespace

bool ServedConnection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t now = std::min(bytes.size(), chunk_bytes);
    if (SSL_write(ssl, bytes.data(), static_cast<int>(now)) <= 0) {
      return false;
    }
    bytes.remove_prefix(now);
  }
  return true;
}

bool ServedConnection::write_chunks(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t now = std::min(bytes.size(), chunk_bytes);
    std::array<char, 32> head{};
    std::snprintf(head.data(), head.size(), "%zx\r\n", now);
    if (!write(std::string(head.data()) + std::string(bytes.substr(0, now)) + "\r\n")) {
      return false;
    }
    bytes.remove_prefix(now);
  }
  return true;
}

bool ServedConnection::answer(unsigned status, const std::string& body, const std::string& headers) {
  return write("HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Type: application/json\r\n" + headers +
               "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
}

bool ServedConnection::begin_chunks() {
  return write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
}

bool ServedConnection::read_more() {
  std::array<char, 4096> buffer{};
  const int got = SSL_read(ssl, buffer.data(), buffer.size());
  if (got > 0) {
    unread.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return got > 0;
}

bool ServedConnection::read_request(ServedRequest& request) {
  std::size_t end = 0;
  while ((end = unread.find("\r\n\r\n")) == std::string::npos) {
    if (!read_more()) {
      return false;
    }
  }
  std::string head = unread.substr(0, end + 2);
  unread.erase(0, end + 4);
  const std::size_t first = head.find(' '), second = head.find(' ', first + 1);
  request.method = head.substr(0, first);
  const std::string target = head.substr(first + 1, second - first - 1);
  const std::size_t question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  request.query = question < target.size() ? target.substr(question + 1) : "";
  request.headers.clear();
  for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
    const std::size_t line_end = head.find("\r\n", at), colon = head.find(':', at);
    std::string name = head.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] = head.substr(colon + 2, line_end - colon - 2);
    at = line_end + 2;
  }
  request.authorization = request.headers["authorization"];
  const std::string length = request.headers["content-length"];
  const std::size_t bytes = length.empty() ? 0 : std::stoul(length);
  while (unread.size() < bytes) {
    if (!read_more()) {
      return false;
    }
  }
  request.body = unread.substr(0, bytes);
  unread.erase(0, bytes);
  return true;
}

std::string ServedConnection::peer_name() const {
  X509* certificate = SSL_get1_peer_certificate(ssl);
  if (certificate == nullptr) {
    return {};
  }
  std::array<char, 128> name{};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(), name.size());
  X509_free(certificate);
  return name.data();
}

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
  SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, accept_any_certificate);
  return tls;
}

}  // namespace isthmus
