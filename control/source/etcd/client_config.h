// etcd's client configuration files, one per remote cluster, and the certificates they name.
//
// Thread: any. Failure: text that cannot be used comes back as an error with its place and remedy; keys that are not
// known are ignored, as etcd's own client does.
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

// A file is a configuration if and only if its text holds "endpoints:" (Cilium's rule).
[[nodiscard]] bool is_etcd_client_config(std::string_view text);
// `place`: the file, for messages.
[[nodiscard]] Result<EtcdClientConfig> parse_etcd_client_config(std::string_view text, const std::string& place);

// The whole of a file, or why it could not be read.
[[nodiscard]] Result<std::string> read_whole_file(const std::string& path);

struct EtcdCertificates {
  std::string ca, certificate, key;  // PEM
};
// Read anew for every connection, so that rotated files are used by the next one.
[[nodiscard]] Result<EtcdCertificates> read_certificates(const EtcdClientConfig& config);
// What is wrong with a certificate by itself: past its time, not yet valid, unreadable. Empty: nothing.
[[nodiscard]] std::string certificate_fault(const std::string& pem);

}  // namespace isthmus
