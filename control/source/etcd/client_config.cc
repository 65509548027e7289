#include "control/source/etcd/client_config.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "config/files/read_file.h"
#include "config/yaml/read.h"

namespace isthmus {
namespace {

// Where Debian, Red Hat and Alpine keep the system's root certificates.
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

// Null if the text holds no certificate; of a bundle, the first.
Certificate parse_certificate(const std::string& pem) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                      BIO_free);
  return {PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free};
}

}  // namespace

bool is_etcd_client_config(std::string_view text) { return text.find("endpoints:") != std::string_view::npos; }

Result<EtcdClientConfig> parse_etcd_client_config(std::string_view config, const std::string& path) {
  const std::string fix = "write it as an etcd client configuration: endpoints, trusted-ca-file, cert-file, key-file";
  const auto parsed = parse_yaml(config);
  if (const auto* error = std::get_if<YamlError>(&parsed)) {
    return Error{error->what, path + ":" + std::to_string(error->line), fix};
  }
  const YamlNode& root = std::get<YamlNode>(parsed);
  EtcdClientConfig result;
  const YamlNode* endpoints = root.find("endpoints");
  if (endpoints == nullptr || endpoints->kind != YamlNode::Kind::kSequence || endpoints->items.empty()) {
    return Error{"endpoints is not a list of URLs", path, fix};
  }
  for (const YamlNode& endpoint : endpoints->items) {
    if (endpoint.kind != YamlNode::Kind::kScalar || !is_endpoint(endpoint.text)) {
      return Error{"endpoint " + shown(endpoint.text) + " is not a URL", path + ":" + std::to_string(endpoint.line),
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

Result<EtcdCertificates> read_certificates(const EtcdClientConfig& config) {
  EtcdCertificates certificates;
  const auto read = [](const std::string& path, std::string& to, bool is_certificate) -> Status {
    Result<std::string> content = read_file(path, kMaxCredentialBytes);
    if (!content) {
      return content.error();
    }
    if (content->empty()) {
      return Error{"the file is empty", path, "write the certificate or key to this file, in PEM"};
    }
    if (is_certificate && parse_certificate(*content) == nullptr) {
      return Error{"is not a certificate in PEM", path, "write the certificate to this file, in PEM"};
    }
    to = std::move(*content);
    return Ok{};
  };
  if (!config.trusted_ca_file.empty()) {
    if (const Status status = read(config.trusted_ca_file, certificates.ca, true); !status) {
      return status.error();
    }
  } else {
    for (const char* roots : kSystemRoots) {
      if (Result<std::string> content = read_file(roots, kMaxCredentialBytes); content && !content->empty()) {
        certificates.ca = std::move(*content);
        break;
      }
    }
  }
  if (config.cert_file.empty() || config.key_file.empty()) {
    return certificates;  // both or neither, as for etcd's client
  }
  if (const Status status = read(config.cert_file, certificates.certificate, true); !status) {
    return status.error();
  }
  if (const Status status = read(config.key_file, certificates.key, false); !status) {
    return status.error();
  }
  return certificates;
}

std::string certificate_error(const std::string& pem) {
  const Certificate x509 = parse_certificate(pem);
  if (x509 == nullptr) {
    return "is not a certificate in PEM";
  }
  if (X509_cmp_current_time(X509_get0_notAfter(x509.get())) < 0) {
    return "has expired";
  }
  if (X509_cmp_current_time(X509_get0_notBefore(x509.get())) > 0) {
    return "is not valid yet";
  }
  return "";
}

}  // namespace isthmus
