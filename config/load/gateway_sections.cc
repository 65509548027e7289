#include "config/load/gateway_sections.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

constexpr std::string_view kSection = "gateways";

YamlNode* find_item(YamlNode& map, std::string_view key) {
  const auto at = std::find_if(map.keys.begin(), map.keys.end(), [&](const YamlKey& each) { return each.text == key; });
  return at == map.keys.end() ? nullptr : &map.items[static_cast<std::size_t>(at - map.keys.begin())];
}

void put_item(YamlNode& map, YamlKey key, YamlNode value) {
  if (YamlNode* item = find_item(map, key.text)) {
    *item = std::move(value);
    return;
  }
  map.keys.push_back(std::move(key));
  map.items.push_back(std::move(value));
}

// Mappings are merged; any other value takes the place of what was there.
void overlay(YamlNode& under, const YamlNode& over) {
  for (std::size_t i = 0; i < over.keys.size(); ++i) {
    YamlNode* item = find_item(under, over.keys[i].text);
    if (item != nullptr && item->kind == YamlNode::Kind::kMap && over.items[i].kind == YamlNode::Kind::kMap) {
      overlay(*item, over.items[i]);
    } else {
      put_item(under, over.keys[i], over.items[i]);
    }
  }
}

void check_entry(const YamlKey& key, const YamlNode& entry, YamlErrors& errors) {
  const std::string path = std::string(kSection) + "." + key.text.substr(0, kGatewayNameLength);
  if (!is_gateway_name(key.text)) {
    errors.push_back(
        {key.line, path + " is not a gateway's name", "write " + std::string(kGatewayNameKind) + " as in the hub"});
  }
  if (entry.kind != YamlNode::Kind::kMap) {
    errors.push_back({key.line, path + " is " + std::string(entry.kind_name()) + ", not a mapping",
                      "write the keys that differ for this gateway below its name"});
    return;
  }
  reject_duplicate_keys(entry, path, errors);
  const YamlNode* gateway = entry.find("gateway");
  if (entry.find(kSection) != nullptr || (gateway != nullptr && gateway->find("name") != nullptr)) {
    errors.push_back({key.line, path + " names a gateway again", "leave it out: the section is this gateway's"});
  }
}

// The name on the command line in the place of gateway.name.
void set_name(YamlNode& root, const std::string& name) {
  YamlNode value;
  value.kind = YamlNode::Kind::kScalar;
  value.quoted = true;
  value.text = name;
  YamlNode* gateway = find_item(root, "gateway");
  value.line = gateway != nullptr ? gateway->line : std::max(root.line, 1U);
  const YamlKey key{"name", value.line};
  if (gateway == nullptr) {
    YamlNode section;
    section.kind = YamlNode::Kind::kMap;
    section.line = value.line;
    put_item(section, key, std::move(value));
    put_item(root, {"gateway", key.line}, std::move(section));
  } else if (gateway->kind == YamlNode::Kind::kMap) {
    put_item(*gateway, key, std::move(value));
  }
}

}  // namespace

std::vector<std::string> listed_gateways(const YamlNode& root) {
  std::vector<std::string> names;
  const YamlNode* section = root.find(kSection);
  for (std::size_t i = 0; section != nullptr && i < section->keys.size(); ++i) {
    names.push_back(section->keys[i].text);
  }
  return names;
}

void select_gateway(YamlNode& root, const std::string& name, YamlErrors& errors) {
  if (!name.empty()) {
    set_name(root, name);
  }
  const auto at =
      std::find_if(root.keys.begin(), root.keys.end(), [](const YamlKey& each) { return each.text == kSection; });
  if (at == root.keys.end()) {
    return;
  }
  const auto index = at - root.keys.begin();
  const YamlNode section = std::move(root.items[static_cast<std::size_t>(index)]);
  root.keys.erase(at);
  root.items.erase(root.items.begin() + index);
  if (section.kind != YamlNode::Kind::kMap) {
    errors.push_back({std::max(section.line, 1U), "gateways is " + std::string(section.kind_name()) + ", not a mapping",
                      "write gateways' names, each with the keys that differ for it"});
    return;
  }
  reject_duplicate_keys(section, kSection, errors);
  const YamlNode* gateway = root.find("gateway");
  const YamlNode* own = gateway == nullptr ? nullptr : gateway->find("name");
  for (std::size_t i = 0; i < section.keys.size(); ++i) {
    if (own != nullptr && section.keys[i].text == own->text) {
      check_entry(section.keys[i], section.items[i], errors);
      if (section.items[i].kind == YamlNode::Kind::kMap) {
        overlay(root, section.items[i]);
      }
    }
  }
}

}  // namespace isthmus
