#include "control/source/kubernetes/access.h"

#include <algorithm>
#include <boost/algorithm/string/predicate.hpp>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>

#include "config/files/read_file.h"
#include "config/yaml/base64.h"
#include "config/yaml/read.h"

namespace isthmus {
namespace {

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == std::string_view::npos &&
         std::stoul(std::string(text)) >= 1 && std::stoul(std::string(text)) <= 65535;
}

bool is_header_safe(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// One entry of NO_PROXY.
bool names_server(std::string_view entry, const ServerUrl& server) {
  const auto first = entry.find_first_not_of(" \t");
  if (first == std::string_view::npos) {
    return false;
  }
  entry = entry.substr(first, entry.find_last_not_of(" \t") - first + 1);
  const auto address = IpAddress::parse(server.host);
  if (const auto prefix = Prefix::parse(entry)) {
    return address && prefix->family() == address->family() && prefix->contains(*address);
  }
  if (const auto colon = entry.rfind(':'); colon != std::string_view::npos) {
    if (entry.substr(colon + 1) != server.port) {
      return false;
    }
    entry = entry.substr(0, colon);
    if (entry.size() > 2 && entry.front() == '[' && entry.back() == ']') {
      entry = entry.substr(1, entry.size() - 2);
    }
  }
  entry.remove_prefix(entry.starts_with("*.") ? 1 : 0);
  if (entry == "*" || boost::algorithm::iequals(entry, server.host) ||
      (address && IpAddress::parse(entry) == address)) {
    return true;
  }
  const std::string suffix = (entry.starts_with('.') ? "" : ".") + std::string(entry);
  return !address && server.host.size() > suffix.size() && boost::algorithm::iends_with(server.host, suffix);
}

bool without_proxy(const ServerUrl& server, std::string_view list) {
  const auto address = IpAddress::parse(server.host);
  const auto loopback = [&] {
    return address && (Prefix::parse("127.0.0.0/8")->contains(*address) || IpAddress::parse("::1") == address);
  };
  if (server.host == "localhost" || loopback()) {
    return true;
  }
  while (!list.empty()) {
    const std::string_view entry = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), entry.size() + 1));
    if (names_server(entry, server)) {
      return true;
    }
  }
  return false;
}

// A named entry of clusters, users or contexts, and the file that contains it.
struct Found {
  const YamlNode* entry = nullptr;
  const KubeconfigText* file = nullptr;
};

class KubeconfigReader {
 public:
  KubeconfigReader(const std::vector<KubeconfigText>& files) : files_(files) {}

  Result<ApiAccess> read(std::string context) {
    for (const KubeconfigText& file : files_) {
      auto parsed = parse_yaml(file.text);
      if (const auto* invalid = std::get_if<YamlError>(&parsed)) {
        return error(file, *invalid);
      }
      trees_.push_back(std::move(*std::get_if<YamlNode>(&parsed)));
    }
    for (const YamlNode& tree : trees_) {
      const YamlNode* current = tree.find("current-context");
      if (context.empty() && current != nullptr) {
        context = current->text;
      }
    }
    if (context.empty()) {
      return Error{"no current-context is set", files_.empty() ? "kubeconfig" : files_.front().path,
                   "set a context in the configuration"};
    }
    return read_context(context);
  }

 private:
  static Error error(const KubeconfigText& file, const YamlError& error) {
    return {error.what, file.path + ":" + std::to_string(error.line), error.fix};
  }
  [[nodiscard]] Error missing(const std::string& what, const std::string& name) const {
    return {"there is no " + what + " named " + shown(name), files_.front().path, "check the names in the file"};
  }
  // `list` holds entries {name, <member>}.
  [[nodiscard]] Found find(std::string_view list, std::string_view name) const {
    for (std::size_t i = 0; i < trees_.size(); ++i) {
      const YamlNode* entries = trees_[i].find(list);
      if (entries == nullptr || entries->kind != YamlNode::Kind::kSequence) {
        continue;
      }
      for (const YamlNode& entry : entries->items) {
        const YamlNode* found = entry.find("name");
        if (found != nullptr && found->text == name) {
          return {&entry, &files_[i]};
        }
      }
    }
    return {};
  }

  Result<ApiAccess> read_context(const std::string& name) {
    const Found context = find("contexts", name);
    if (context.entry == nullptr) {
      return missing("context", name);
    }
    const YamlMap map(context.entry, "", context.entry->line, errors_);
    const YamlMap body = map.map("context");
    const std::string cluster_name = body.text("cluster"), user_name = body.text("user");
    const Found cluster = find("clusters", cluster_name), user = find("users", user_name);
    if (cluster.entry == nullptr) {
      return missing("cluster", cluster_name);
    }
    if (user.entry == nullptr && !user_name.empty()) {
      return missing("user", user_name);
    }
    if (const auto failed = read_cluster(cluster)) {
      return *failed;
    }
    if (user.entry != nullptr) {
      read_user(user);
      if (!errors_.empty()) {
        return error(*user.file, errors_.front());
      }
    }
    return std::move(access_);
  }

  std::optional<Error> read_cluster(const Found& found) {
    const YamlMap map = YamlMap(found.entry, "", found.entry->line, errors_).map("cluster");
    access_.server = map.text("server");
    access_.tls_server_name = map.text("tls-server-name");
    access_.ca = read_pem(map, "certificate-authority", *found.file);
    if (const YamlNode* insecure = map.get("insecure-skip-tls-verify")) {
      access_.insecure = read_boolean(*insecure, map.path("insecure-skip-tls-verify"), errors_).value_or(false);
    }
    const YamlNode* proxy_url = map.get("proxy-url");
    if (proxy_url != nullptr && !proxy_url->text.empty()) {
      auto proxy = parse_proxy_url(proxy_url->text);
      if (proxy) {
        access_.proxy = *std::move(proxy);
      } else {
        map.error(proxy_url->line, proxy.error().what, proxy.error().fix);
      }
    }
    note_ignored(map, {"server", "tls-server-name", "certificate-authority", "certificate-authority-data",
                       "insecure-skip-tls-verify", "proxy-url", "extensions"});
    if (!errors_.empty()) {
      return error(*found.file, errors_.front());
    }
    auto url = parse_server_url(access_.server);
    if (!url) {
      Error failed = url.error();
      failed.where = found.file->path + ":" + std::to_string(map.line());
      return failed;
    }
    access_.url = *std::move(url);
    if (proxy_url == nullptr || proxy_url->text.empty()) {
      auto proxy = environment_proxy(access_.url);
      if (!proxy) {
        return proxy.error();
      }
      access_.proxy = *std::move(proxy);
    }
    return std::nullopt;
  }

  void note_ignored(const YamlMap& map, std::initializer_list<std::string_view> read) {
    for (std::size_t i = 0; map.present() && i < map.node()->keys.size(); ++i) {
      const std::string& key = map.node()->keys[i].text;
      if (std::find(read.begin(), read.end(), key) == read.end()) {
        access_.ignored.push_back(map.path(shown(key)) + " (line " + std::to_string(map.node()->keys[i].line) + ")");
      }
    }
  }

  void read_user(const Found& found) {
    const YamlMap map = YamlMap(found.entry, "", found.entry->line, errors_).map("user");
    note_ignored(
        map, {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile",
              "username", "password", "auth-provider", "as", "as-uid", "as-groups", "exec", "extensions"});
    access_.client_certificate = read_pem(map, "client-certificate", *found.file);
    access_.client_key = read_pem(map, "client-key", *found.file);
    if (access_.client_certificate.empty() != access_.client_key.empty()) {
      map.error(map.line(), "client-certificate and client-key are only valid together", "write both");
    }
    access_.token = map.text("token");
    access_.token_file = resolve(map.text("tokenFile"), *found.file);
    access_.username = map.text("username");
    access_.password = map.text("password");
    if (const YamlNode* provider = map.get("auth-provider")) {
      map.error(provider->line, "auth-provider is not supported", "use exec, a token or a client certificate");
    }
    read_impersonation(map);
    if (map.get("exec") != nullptr) {
      read_exec(map.map("exec"), *found.file);
    }
    for (const std::string* text : {&access_.token, &access_.username, &access_.password}) {
      if (!is_header_safe(*text)) {
        map.error(map.line(), "the credentials contain control characters", "write them on one line");
      }
    }
  }

  void read_impersonation(const YamlMap& map) {
    const auto add = [&](const char* header, const std::string& value) {
      if (!is_header_safe(value)) {
        map.error(map.line(), "a name to impersonate contains control characters", "write it on one line");
      } else if (!value.empty()) {
        access_.headers.emplace_back(header, value);
      }
    };
    add("Impersonate-User", map.text("as"));
    add("Impersonate-Uid", map.text("as-uid"));
    for (const YamlNode& group : map.list("as-groups")) {
      add("Impersonate-Group", group.text);
    }
  }

  void read_exec(const YamlMap& map, const KubeconfigText& file) {
    ExecPlugin plugin;
    plugin.command = map.text("command");
    if (plugin.command.empty()) {
      map.error(map.line(), "exec has no command", "name the program that prints the credentials");
    } else if (plugin.command.find('/') != std::string::npos) {
      plugin.command = resolve(plugin.command, file);  // a bare name is looked up in $PATH
    }
    for (const YamlNode& arg : map.list("args")) {
      plugin.args.push_back(arg.text);
    }
    for (const YamlNode& item : map.list("env")) {
      const YamlMap pair(&item, "env", item.line, errors_);
      plugin.env.emplace_back(pair.text("name"), pair.text("value"));
    }
    plugin.api_version = map.text("apiVersion");
    if (plugin.api_version.empty()) {
      plugin.api_version = "client.authentication.k8s.io/v1";
    }
    plugin.install_hint = map.text("installHint");
    access_.exec = std::move(plugin);
  }

  // <key>-data (base64) or <key> (a file).
  PemSource read_pem(const YamlMap& map, const std::string& key, const KubeconfigText& file) {
    PemSource pem;
    if (const YamlNode* data = map.get(key + "-data"); data != nullptr && !data->text.empty()) {
      const auto decoded = decode_base64(data->text);
      if (!decoded) {
        map.error(data->line, map.path(key + "-data") + " is not valid base64", "write the PEM text in base64");
      }
      pem.data = decoded.value_or(std::string());
      return pem;
    }
    pem.file = resolve(map.text(key), file);
    return pem;
  }

  static std::string resolve(const std::string& path, const KubeconfigText& file) {
    if (path.empty() || path.front() == '/') {
      return path;
    }
    return (std::filesystem::path(file.path).parent_path() / path).string();
  }

  const std::vector<KubeconfigText>& files_;
  std::vector<YamlNode> trees_;
  YamlErrors errors_;
  ApiAccess access_;
};

}  // namespace

Result<ServerUrl> parse_server_url(std::string_view text) {
  const Error invalid{"server is " + shown(text) + ", not an https:// address", "", "write https://host:port"};
  constexpr std::string_view kScheme = "https://";
  if (!text.starts_with(kScheme) || !is_header_safe(text) || text.find_first_of(" ?#@") != std::string_view::npos) {
    return invalid;
  }
  text.remove_prefix(kScheme.size());
  ServerUrl url;
  const auto slash = std::min(text.find('/'), text.size());
  std::string_view authority = text.substr(0, slash);
  url.path = text.substr(slash);
  while (url.path.ends_with('/')) {
    url.path.pop_back();
  }
  if (authority.starts_with('[')) {
    const auto end = authority.find(']');
    if (end == std::string_view::npos) {
      return invalid;
    }
    url.host = authority.substr(1, end - 1);
    authority.remove_prefix(end + 1);
  } else {
    url.host = authority.substr(0, authority.find(':'));
    authority.remove_prefix(url.host.size());
  }
  if (!authority.empty()) {
    url.port = authority.substr(1);
  }
  if (url.host.empty() || (!authority.empty() && authority.front() != ':') || !is_port(url.port)) {
    return invalid;
  }
  return url;
}

Result<std::optional<ApiProxy>> parse_proxy_url(std::string_view text) {
  const Error invalid{"the proxy is " + shown(text) + ", not an http:// address", "", "write http://host:port"};
  if (text.empty()) {
    return std::optional<ApiProxy>();
  }
  if (const auto scheme = text.find("://"); scheme != std::string_view::npos) {
    if (text.substr(0, scheme) != "http") {
      return invalid;
    }
    text.remove_prefix(scheme + 3);
  }
  ApiProxy proxy;
  std::string_view authority = text.substr(0, text.find('/'));
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    // RFC 7617 section 2: a colon ends the user, whether a password follows or not.
    const std::string user = percent_decoded(authority.substr(0, at));
    const bool alone = authority.substr(0, at).find(':') == std::string_view::npos;
    proxy.authorization = "Basic " + encode_base64(alone ? user + ":" : user);
    authority.remove_prefix(at + 1);
  }
  // The rest is as in the address of a server.
  auto url = parse_server_url("https://" + std::string(authority));
  if (!url) {
    return invalid;
  }
  proxy.host = url->host;
  proxy.port = authority.ends_with(":" + url->port) ? url->port : "80";
  return std::optional<ApiProxy>(std::move(proxy));
}

Result<std::optional<ApiProxy>> environment_proxy(const ServerUrl& server) {
  const auto variable = [](const char* upper, const char* lower) -> std::string {
    const char* value = std::getenv(upper);
    value = value == nullptr || *value == '\0' ? std::getenv(lower) : value;
    return value == nullptr ? "" : value;
  };
  const std::string url = variable("HTTPS_PROXY", "https_proxy");
  if (url.empty() || without_proxy(server, variable("NO_PROXY", "no_proxy"))) {
    return std::optional<ApiProxy>();
  }
  auto proxy = parse_proxy_url(url);
  if (!proxy) {
    return Error{proxy.error().what, "environment variable HTTPS_PROXY", proxy.error().fix};
  }
  return proxy;
}

Result<ApiAccess> read_kubeconfig(const std::vector<KubeconfigText>& files, const std::string& context) {
  return KubeconfigReader(files).read(context);
}

Result<ApiAccess> load_kubeconfig(const std::string& paths, const std::string& context) {
  std::vector<KubeconfigText> files;
  const bool has_several = paths.find(':') != std::string::npos;
  for (std::size_t at = 0; at <= paths.size();) {
    const std::size_t end = std::min(paths.find(':', at), paths.size());
    const std::string path = paths.substr(at, end - at);
    at = end + 1;
    auto text = read_file(path, kMaxKubeconfigBytes);
    if (text) {
      files.push_back({path, *std::move(text)});
    } else if (!has_several) {
      Error failed = text.error();
      failed.what = "the kubeconfig file " + failed.what;
      return failed;
    }
  }
  if (files.empty()) {
    return Error{"none of the kubeconfig files can be read", paths, "check the paths and their permissions"};
  }
  return read_kubeconfig(files, context);
}

Result<ApiAccess> in_cluster_access(const std::string& folder) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr || *host == '\0' || !is_port(port)) {
    return Error{"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set", "environment",
                 "run in a pod, or name a kubeconfig file"};
  }
  ApiAccess access;
  access.url.host = host;
  access.url.port = port;
  const bool v6 = access.url.host.find(':') != std::string::npos;
  access.server = "https://" + (v6 ? "[" + access.url.host + "]" : access.url.host) + ":" + access.url.port;
  access.token_file = folder + "/token";
  access.ca.file = folder + "/ca.crt";
  auto proxy = environment_proxy(access.url);
  if (!proxy) {
    return proxy.error();
  }
  access.proxy = *std::move(proxy);
  return access;
}

}  // namespace isthmus
