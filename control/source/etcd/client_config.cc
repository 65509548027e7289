#include "control/source/etcd/client_config.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

// Where Debian, Red Hat and Alpine keep the system's roots.
constexpr const char* kSystemRoots[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                        "/etc/ssl/cert.pem"};

bool flag(const YamlNode& root, std::string_view key) {
  const YamlNode* node = root.find(key);
  return node != nullptr && node->kind == YamlNode::Kind::kScalar && node->text == "true";
}

std::string text(const YamlNode& root, std::string_view key) {
  const YamlNode* node = root.find(key);
  return node != nullptr && node->kind == YamlNode::Kind::kScalar ? node->text : "";
}

bool is_endpoint(const std::string& url) {
  const std::size_t scheme = url.find("://");
  const std::string host = scheme == std::string::npos ? url : url.substr(scheme + 3);
  const bool known = scheme == std::string::npos || url.starts_with("https://") || url.starts_with("http://");
  return known && !host.empty() && host.find_first_of(" \t\"'") == std::string::npos;
}

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

// Null when it is none; of a bundle, the first.
Certificate parse_certificate(const std::string& pem) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                      BIO_free);
  return {PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free};
}

}  // namespace

bool is_etcd_client_config(std::string_view text) { return text.find("endpoints:") != std::string_view::npos; }

Result<EtcdClientConfig> parse_etcd_client_config(std::string_view config, const std::string& place) {
  const std::string remedy =
      "write it as an etcd client configuration: endpoints, trusted-ca-file, cert-file, key-file";
  const auto parsed = parse_yaml(config);
  if (const auto* fault = std::get_if<YamlFault>(&parsed)) {
    return Error{fault->what, place + ":" + std::to_string(fault->line), remedy};
  }
  const YamlNode& root = std::get<YamlNode>(parsed);
  EtcdClientConfig result;
  const YamlNode* endpoints = root.find("endpoints");
  if (endpoints == nullptr || endpoints->kind != YamlNode::Kind::kSequence || endpoints->items.empty()) {
    return Error{"endpoints is not a list of URLs", place, remedy};
  }
  for (const YamlNode& endpoint : endpoints->items) {
    if (endpoint.kind != YamlNode::Kind::kScalar || !is_endpoint(endpoint.text)) {
      return Error{"endpoint " + shown(endpoint.text) + " is not a URL", place + ":" + std::to_string(endpoint.line),
                   "write it as https://host:2379"};
    }
    result.endpoints.push_back(endpoint.text);
  }
  result.trusted_ca_file = text(root, "trusted-ca-file");
  result.cert_file = text(root, "cert-file");
  result.key_file = text(root, "key-file");
  result.insecure_transport = flag(root, "insecure-transport");
  result.insecure_skip_tls_verify = flag(root, "insecure-skip-tls-verify");
  return result;
}

Result<std::string> read_whole_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string whole;
  if (in) {
    whole.assign(std::istreambuf_iterator<char>(in), {});
  }
  if (!in.good() && !in.eof()) {
    return Error{std::string("cannot be read: ") + std::strerror(errno), path, "put it there, readable"};
  }
  return whole;
}

Result<EtcdCertificates> read_certificates(const EtcdClientConfig& config) {
  EtcdCertificates certificates;
  const auto read = [](const std::string& path, std::string& to, bool is_certificate) -> Status {
    Result<std::string> whole = read_whole_file(path);
    if (!whole) {
      return whole.error();
    }
    if (whole->empty()) {
      return Error{"the file is empty", path, "put the certificate there"};
    }
    if (is_certificate && parse_certificate(*whole) == nullptr) {
      return Error{"is not a certificate in PEM", path, "put the certificate there"};
    }
    to = std::move(*whole);
    return Ok{};
  };
  if (!config.trusted_ca_file.empty()) {
    if (const Status status = read(config.trusted_ca_file, certificates.ca, true); !status) {
      return status.error();
    }
  } else {
    for (const char* roots : kSystemRoots) {
      if (Result<std::string> whole = read_whole_file(roots); whole && !whole->empty()) {
        certificates.ca = std::move(*whole);
        break;
      }
    }
  }
  if (config.cert_file.empty() || config.key_file.empty()) {
    return certificates;  // both or none, as etcd's client has it
  }
  if (const Status status = read(config.cert_file, certificates.certificate, true); !status) {
    return status.error();
  }
  if (const Status status = read(config.key_file, certificates.key, false); !status) {
    return status.error();
  }
  return certificates;
}

std::string certificate_fault(const std::string& pem) {
  const Certificate x509 = parse_certificate(pem);
  if (x509 == nullptr) {
    return "is not a certificate in PEM";
  }
  if (X509_cmp_current_time(X509_get0_notAfter(x509.get())) < 0) {
    return "is past its time";
  }
  if (X509_cmp_current_time(X509_get0_notBefore(x509.get())) > 0) {
    return "is not valid yet";
  }
  return "";
}

}  // namespace isthmus
