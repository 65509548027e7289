// How to reach an API server and with which credentials: from kubeconfig files, or from a pod's service account.
// Parsing is pure; nothing throws. Errors name the file, the line and the fix. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// "https://host:port/path".
struct ServerUrl {
  std::string host;  // without brackets
  std::string port = "443";
  std::string path;  // empty, or begins with / and does not end with one
};
[[nodiscard]] Result<ServerUrl> parse_server_url(std::string_view text);

// PEM text, or the file that contains it, which is read again for every connection. `data` takes precedence.
struct PemSource {
  std::string data, file;
  [[nodiscard]] bool empty() const noexcept { return data.empty() && file.empty(); }
};

// A program that prints credentials (client.authentication.k8s.io).
struct ExecPlugin {
  std::string command;
  std::vector<std::string> args;
  std::vector<std::pair<std::string, std::string>> env;
  std::string api_version;
  std::string install_hint;
};

// An HTTP proxy that is asked to CONNECT.
struct ApiProxy {
  std::string host, port;
  std::string authorization;  // the header's value; empty: none
};
// "http://[user:password@]host[:port]"; a bare "host:port" is read as that. Text empty: no proxy.
[[nodiscard]] Result<std::optional<ApiProxy>> parse_proxy_url(std::string_view text);
// The proxy for the server according to the environment, as Go reads it: $HTTPS_PROXY, unless $NO_PROXY names the
// server (addresses, CIDRs, domains with their subdomains, each with an optional port; *: all). Loopback addresses have
// none.
[[nodiscard]] Result<std::optional<ApiProxy>> environment_proxy(const ServerUrl& server);

struct ApiAccess {
  std::string server;  // as written
  ServerUrl url;
  std::string tls_server_name;  // empty: the host of the url
  bool insecure = false;        // the server's certificate is not verified
  PemSource ca;                 // empty: the system's certificate authorities
  PemSource client_certificate, client_key;
  std::string token, token_file;  // the file takes precedence
  std::string username, password;
  std::optional<ExecPlugin> exec;
  std::vector<std::pair<std::string, std::string>>
      headers;  // sent with every request: impersonation, headers for a proxy
  std::optional<ApiProxy> proxy;
  std::vector<std::string> ignored;  // what of the kubeconfig has no effect: "users[0].user.as-user-extra"
};

struct KubeconfigText {
  std::string path;  // relative paths in the text are relative to its folder
  std::string text;
};
// Of several files, the first that defines a cluster, user, context or current-context is used. `context` empty: the
// current-context.
[[nodiscard]] Result<ApiAccess> read_kubeconfig(const std::vector<KubeconfigText>& files, const std::string& context);
// `paths` is one path, or several separated by colons as in $KUBECONFIG; of several, those that cannot be read are
// skipped.
[[nodiscard]] Result<ApiAccess> load_kubeconfig(const std::string& paths, const std::string& context);

inline constexpr const char* kServiceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";
// From KUBERNETES_SERVICE_HOST and _PORT, with the token and CA certificate in `folder`.
[[nodiscard]] Result<ApiAccess> in_cluster_access(const std::string& folder = kServiceAccountFolder);

}  // namespace isthmus
