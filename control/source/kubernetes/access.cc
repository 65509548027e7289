#include "control/source/kubernetes/access.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

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
    if (const YamlNode* proxy = map.get("proxy-url"); proxy != nullptr && !proxy->text.empty()) {
      map.error(proxy->line, "proxy-url is not supported", "connect to the server without a proxy");
    }
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
    return std::nullopt;
  }

  void read_user(const Found& found) {
    const YamlMap map = YamlMap(found.entry, "", found.entry->line, errors_).map("user");
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
  return access;
}

}  // namespace isthmus
