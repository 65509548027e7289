#include "config/load/load.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "config/files/read_file.h"
#include "config/load/device_checks.h"
#include "config/load/fields.h"
#include "config/load/gateway_sections.h"
#include "config/model/special_prefixes.h"
#include "config/yaml/read.h"

namespace isthmus {
namespace {

struct Reading {
  GatewayConfig config;
  YamlErrors errors;
};

// Checks the mappings of the file against the table of keys: wrong kinds, duplicate and unknown keys.
void check_section(const YamlNode& node, const std::string& section, YamlErrors& errors) {
  const YamlMap map(&node, section, node.line, errors);
  if (!map.present()) {
    return;
  }
  const std::string prefix = section.empty() ? "" : section + ".";
  std::vector<std::string_view> known;
  std::set<std::string_view> sections;
  for (const ConfigField& field : config_fields()) {
    if (field.key.compare(0, prefix.size(), prefix) != 0) {
      continue;
    }
    const std::string_view rest = std::string_view(field.key).substr(prefix.size());
    const std::string_view word = rest.substr(0, rest.find('.'));
    if (word.size() < rest.size()) {
      sections.insert(word);
    }
    if (std::find(known.begin(), known.end(), word) == known.end()) {
      known.push_back(word);
    }
  }
  reject_unknown_keys(node, section, known, errors);
  for (const std::string_view word : sections) {
    if (const YamlNode* below = map.get(word)) {
      check_section(*below, map.path(word), errors);
    }
  }
}

// The line for an error about a missing key: that of the nearest section that exists.
unsigned section_line(const YamlNode& root, std::string path) {
  for (auto dot = path.rfind('.'); dot != std::string::npos; dot = path.rfind('.')) {
    path.resize(dot);
    if (const YamlNode* node = find_path(root, path)) {
      return node->line;
    }
  }
  return std::max(root.line, 1U);
}

void check_hubs(const YamlNode& root, Reading& reading) {
  const GatewayConfig& config = reading.config;
  const auto named = [&](const char* path) { return find_path(root, path) != nullptr; };
  constexpr std::array kHubs = {"hub.file.path", "hub.etcd.clusters", "hub.etcd.kvstoremesh", "hub.kubernetes.cluster",
                                "hub.kubernetes.fleet"};
  if (std::none_of(kHubs.begin(), kHubs.end(), named)) {
    reading.errors.push_back({section_line(root, "hub.x"), "no hub is named",
                              "write hub.file.path, hub.etcd.clusters or hub.kubernetes.cluster"});
  }
  if (config.etcd.clusters && config.etcd.kvstoremesh) {
    reading.errors.push_back({find_path(root, "hub.etcd.kvstoremesh")->line,
                              "hub.etcd names both a folder of clusters and a KVStoreMesh hub", "keep one of the two"});
  }
  if (config.etcd.used() && config.cluster_id == 0) {
    reading.errors.push_back({find_path(root, "hub.etcd")->line, "hub.etcd needs gateway.cluster_id",
                              "write the cluster's number in the ClusterMesh, 1 to 255 (or 511)"});
  }
  if (config.etcd.used() && config.cluster_id > config.etcd.max_clusters) {
    reading.errors.push_back({find_path(root, "gateway.cluster_id")->line,
                              "gateway.cluster_id is " + std::to_string(config.cluster_id) +
                                  ", more than hub.etcd.max_connected_clusters (" +
                                  std::to_string(config.etcd.max_clusters) + ")",
                              "write the cluster's number in the ClusterMesh, or max_connected_clusters: 511"});
  }
}

// What of the file has addresses of a cluster's alias; empty: nothing.
std::string under_alias(const GatewayConfig& config, const std::string& cluster, const Prefix& alias) {
  const auto meets = [&](const Prefix& other) {
    return other.family() == alias.family() && (alias.contains(other) || other.contains(alias));
  };
  const AdmissionRules& rules = config.admission;
  for (const auto& address : {config.translation_ipv4, config.translation_ipv6}) {
    if (address && alias.contains(*address)) {
      return address->to_string() + ", an address of translation";
    }
  }
  for (const Prefix& pool : rules.vip_pools) {  // one with a whole range of pods in it is not for VIPs alone
    const bool shared = std::any_of(rules.ranges.begin(), rules.ranges.end(), [&](const Prefix& range) {
      return range.family() == pool.family() && pool.contains(range);
    });
    if (!shared && meets(pool)) {
      return pool.to_string() + " of admission.vip_pools";
    }
  }
  for (const auto& [other, prefixes] : rules.pods) {
    const auto pods = std::find_if(prefixes.begin(), prefixes.end(), meets);
    if (other != cluster && rules.alias_cidrs.count(other) == 0 && pods != prefixes.end()) {
      return pods->to_string() + " of admission.pods." + other;
    }
  }
  return {};
}

std::optional<Error> check_alias(const GatewayConfig& config, const std::string& cluster, const AliasPrefixes& pairs) {
  for (const AliasPrefix& pair : pairs) {
    if (const std::string under = under_alias(config, cluster, pair.alias); !under.empty()) {
      return Error{"the alias " + pair.alias.to_string() + " overlaps " + under, "",
                   "give the cluster an alias that nothing else uses"};
    }
  }
  return std::nullopt;
}

void pair_aliases(const YamlNode& root, Reading& reading) {
  AdmissionRules& rules = reading.config.admission;
  DistinctAliases distinct;
  for (const auto& [cluster, aliases] : rules.alias_cidrs) {
    const auto pods = rules.pods.find(cluster);
    const std::string path = "admission.aliases." + cluster;
    auto pairs = isthmus::pair_aliases(pods == rules.pods.end() ? std::vector<Prefix>{} : pods->second, aliases,
                                       "admission.pods." + cluster);
    auto wrong = pairs ? distinct.add(cluster, *pairs) : std::optional(pairs.error());
    if (!wrong) {
      wrong = check_alias(reading.config, cluster, *pairs);
    }
    if (wrong) {
      const YamlNode* node = find_path(root, path);
      node = node == nullptr ? find_path(root, "admission.aliases") : node;
      reading.errors.push_back({node->line, path + ": " + wrong->what, wrong->fix});
    } else {
      rules.aliases[cluster] = *std::move(pairs);
    }
  }
}

// Checks that concern several keys.
void check_together(const YamlNode& root, Reading& reading) {
  GatewayConfig& config = reading.config;
  check_devices(root, reading.config, reading.errors);
  pair_aliases(root, reading);
  const YamlNode* half_open = find_path(root, "engine.half_open_limit");
  if (half_open != nullptr && config.half_open_limit > config.connections) {
    reading.errors.push_back({half_open->line, "engine.half_open_limit is more than engine.connections",
                              "write at most " + std::to_string(config.connections) + ", or 0 for a quarter"});
  }
  const YamlNode* cores = find_path(root, "engine.cores");
  const YamlNode* workers = find_path(root, "engine.workers");
  if (cores != nullptr && workers != nullptr && !config.cores.empty() && config.workers != config.cores.size()) {
    reading.errors.push_back({workers->line,
                              "engine.workers is " + std::to_string(config.workers) + ", but engine.cores names " +
                                  std::to_string(config.cores.size()) + " CPUs",
                              "leave out engine.workers: there is one worker per CPU"});
  }
  check_hubs(root, reading);
  if (config.admin_socket.empty() && !config.name.empty()) {
    config.admin_socket = "/run/isthmus/" + config.name + ".sock";
  }
}

Reading read_config(std::string_view text, const std::string& file, const std::string& name) {
  Reading reading;
  reading.config.file = file;
  const auto documents = split_documents(text);
  if (documents.empty()) {
    reading.errors.push_back({1, "the configuration is empty", "begin with config/examples/node.yaml"});
    return reading;
  }
  if (documents.size() > 1) {
    reading.errors.push_back({documents[1].first_line, "a second document begins", "keep one document per file"});
  }
  auto parsed = parse_yaml(documents[0].text, documents[0].first_line);
  if (auto* error = std::get_if<YamlError>(&parsed)) {
    reading.errors.push_back(std::move(*error));
    return reading;
  }
  YamlNode& root = *std::get_if<YamlNode>(&parsed);
  if (root.kind != YamlNode::Kind::kMap) {
    reading.errors.push_back({std::max(root.line, 1U),
                              "the configuration is " + std::string(root.kind_name()) + ", not a mapping",
                              "begin with config/examples/node.yaml"});
    return reading;
  }
  select_gateway(root, name, reading.errors);
  check_section(root, "", reading.errors);
  for (const ConfigField& field : config_fields()) {
    if (const YamlNode* node = find_path(root, field.key)) {
      field.read(*node, reading.config, reading.errors);
    } else if (field.required && (field.unless.empty() || find_path(root, field.unless) == nullptr)) {
      reading.errors.push_back({section_line(root, field.key), field.key + " is missing", "write " + field.type});
    }
  }
  check_together(root, reading);
  std::stable_sort(reading.errors.begin(), reading.errors.end(),
                   [](const YamlError& a, const YamlError& b) { return a.line < b.line; });
  return reading;
}

Error to_error(const YamlError& error, const std::string& file) {
  return {error.what, file + ":" + std::to_string(error.line), error.fix};
}

}  // namespace

std::vector<Error> check_config(std::string_view text, const std::string& file, const std::string& name) {
  std::vector<Error> errors;
  for (const YamlError& error : read_config(text, file, name).errors) {
    errors.push_back(to_error(error, file));
  }
  return errors;
}

std::vector<std::string> gateways_in(std::string_view text) {
  const auto documents = split_documents(text);
  const auto parsed = documents.empty() ? std::variant<YamlNode, YamlError>(YamlError{})
                                        : parse_yaml(documents[0].text, documents[0].first_line);
  const auto* root = std::get_if<YamlNode>(&parsed);
  return root == nullptr ? std::vector<std::string>() : listed_gateways(*root);
}

Result<GatewayConfig> parse_config(std::string_view text, const std::string& file, const std::string& name) {
  Reading reading = read_config(text, file, name);
  if (reading.errors.empty()) {
    return std::move(reading.config);
  }
  Error error = to_error(reading.errors.front(), file);
  if (reading.errors.size() > 1) {
    error.what += "; and " + std::to_string(reading.errors.size() - 1) + " more, see isthmus config check";
  }
  return error;
}

Result<std::string> read_config_text(const std::string& path) {
  auto text = read_file(path, kMaxConfigBytes);
  if (!text) {
    Error error = text.error();
    error.what = "the configuration " + error.what;
    return error;
  }
  return text;
}

Result<GatewayConfig> load_config(const std::string& path, const std::string& name) {
  const auto text = read_config_text(path);
  return text ? parse_config(*text, path, name) : Result<GatewayConfig>(text.error());
}

std::string describe(const GatewayConfig& config) {
  std::string out = config.file.empty() ? "" : "# " + config.file + "\n";
  for (const ConfigField& field : config_fields()) {
    const std::string value = field.show(config);
    out += field.key + ": " + (value.empty() ? "-" : value) + "\n";
  }
  return out;
}

}  // namespace isthmus
