#include "control/source/manifest/object_reader.h"

#include <algorithm>
#include <set>
#include <utility>

#include "config/yaml/rfc3339.h"

namespace isthmus {

std::optional<Annotation> find_annotation(const ObjectText& in, std::string_view key, std::string_view older_key) {
  for (const std::string_view candidate : {key, older_key}) {
    const YamlNode* node = candidate.empty() ? nullptr : in.annotations.get(candidate);
    if (node == nullptr) {
      continue;
    }
    if (auto text = read_text(*node, in.annotations.path(candidate), in.root.errors())) {
      return Annotation{std::string(candidate), *std::move(text), node->line};
    }
  }
  return std::nullopt;
}

std::map<std::string, std::string> string_map(const YamlMap& map) {
  std::map<std::string, std::string> out;
  if (!map.present()) {
    return out;
  }
  for (const YamlKey& key : map.node()->keys) {
    out[key.text] = map.text(key.text);
  }
  return out;
}

std::vector<std::string_view> claim_words(std::string_view text) {
  std::vector<std::string_view> words;
  do {
    std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    const auto first = word.find_first_not_of(" \t");
    words.push_back(first == std::string_view::npos ? std::string_view()
                                                    : word.substr(first, word.find_last_not_of(" \t") - first + 1));
  } while (!text.empty());
  return words;
}

std::int64_t read_created(const ObjectText& in) {
  const YamlNode* node = in.metadata.get("creationTimestamp");
  if (node == nullptr) {
    return 0;
  }
  const auto created = parse_rfc3339(node->text);
  if (!created) {
    in.root.error(node->line, "metadata.creationTimestamp is " + shown(node->text) + ", not a valid time",
                  "write it as 2026-03-02T10:00:00Z");
  }
  return created.value_or(0);
}

std::string item_path(std::string_view path, std::size_t index) {
  return std::string(path) + "[" + std::to_string(index) + "]";
}

namespace {

IpProtocol read_protocol(const YamlMap& port) {
  const YamlNode* node = port.get("protocol");
  if (node == nullptr || node->text == "TCP") {
    return IpProtocol::kTcp;
  }
  if (node->text == "UDP") {
    return IpProtocol::kUdp;
  }
  if (node->text == "SCTP") {
    return IpProtocol::kSctp;
  }
  port.error(node->line, port.path("protocol") + " is " + shown(node->text), "write TCP, UDP or SCTP");
  return IpProtocol::kTcp;
}

}  // namespace

std::vector<ServicePort> read_ports(const std::vector<YamlNode>& list, const std::string& path, PortRule rule,
                                    YamlErrors& errors) {
  std::vector<ServicePort> ports;
  std::set<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path(path, i), list[i].line, errors);
    if (!item.present()) {
      errors.push_back(
          {list[i].line, item_path(path, i) + " is empty", "write port: and a number, or remove the item"});
      continue;
    }
    ServicePort port;
    port.name = item.text("name");
    port.protocol = read_protocol(item);
    if (!port.name.empty() && !is_label(port.name)) {
      item.error(item.line(), item.path("name") + " is " + shown(port.name) + ", not a valid port name",
                 "write 1 to 63 characters of a-z, 0-9 and -");
    }
    if (!names.insert(port.name).second) {
      item.error(item.line(),
                 port.name.empty() ? "two ports of " + path + " have no name"
                                   : "two ports of " + path + " are named " + shown(port.name),
                 "give each port a different name");
    }
    const YamlNode* number =
        rule == PortRule::kRequired ? item.require("port", "write a number, 1 to 65535") : item.get("port");
    if (number == nullptr) {
      continue;
    }
    const auto value = read_number(*number, item.path("port"), 1, 65535, errors);
    port.port = L4Port{static_cast<std::uint16_t>(value.value_or(0))};
    const bool duplicate = std::any_of(ports.begin(), ports.end(), [&](const ServicePort& other) {
      return other.protocol == port.protocol && other.port == port.port;
    });
    if (value && duplicate && rule == PortRule::kRequired) {
      item.error(number->line, "two ports of " + path + " have number " + number->text + " and the same protocol",
                 "keep one of them");
    } else if (value) {
      ports.push_back(std::move(port));
    }
  }
  return ports;
}

std::vector<Prefix> read_prefixes(const std::vector<YamlNode>& list, const std::string& path, YamlErrors& errors) {
  std::vector<Prefix> prefixes;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (const auto prefix = read_prefix(list[i], item_path(path, i), errors)) {
      append_once(prefixes, *prefix);
    }
  }
  return prefixes;
}

}  // namespace isthmus
