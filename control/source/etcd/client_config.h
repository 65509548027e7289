// etcd's client configuration files, one per remote cluster, and the certificates they name.
//
// Thread: any. Failure: an invalid configuration or unreadable file is returned as an error with its source location
// and fix; unknown keys are ignored, as by etcd's own client.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

struct EtcdClientConfig {
  std::vector<std::string> endpoints;  // URLs
  std::string trusted_ca_file, cert_file, key_file;
  bool insecure_transport = false, insecure_skip_tls_verify = false;
};

// A file is a configuration if its text contains "endpoints:" (Cilium's rule).
[[nodiscard]] bool is_etcd_client_config(std::string_view text);
// `path`: the file the text was read from, for messages.
[[nodiscard]] Result<EtcdClientConfig> parse_etcd_client_config(std::string_view text, const std::string& path);

struct EtcdCertificates {
  std::string ca, certificate, key;  // PEM
};
// Called for every connection, so that rotated certificates take effect with the next one.
[[nodiscard]] Result<EtcdCertificates> read_certificates(const EtcdClientConfig& config);
// Why a certificate is invalid (expired, not yet valid, not PEM), to follow its name in a message. Empty: it is valid.
[[nodiscard]] std::string certificate_error(const std::string& pem);

}  // namespace isthmus
