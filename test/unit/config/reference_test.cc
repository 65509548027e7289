#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "config/load/fields.h"
#include "config/load/load.h"

namespace isthmus {
namespace {

TEST(ConfigReference, TheFileInTheSchemaFolderIsWhatTheCodePrints) {
  std::ifstream in(std::string(ISTHMUS_CONFIG_DIR) + "/schema/reference.md");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(text, config_reference()) << "print it again: ninja config/isthmus-config-reference && "
                                         "config/isthmus-config-reference > <source>/config/schema/reference.md";
}

TEST(ConfigReference, EveryKeyIsThereOnceAndExplained) {
  std::set<std::string> keys;
  for (const ConfigField& field : config_fields()) {
    EXPECT_TRUE(keys.insert(field.key).second) << field.key;
    EXPECT_FALSE(field.text.empty()) << field.key;
    EXPECT_FALSE(field.type.empty()) << field.key;
  }
}

// What `describe` prints for a key is accepted as its value.
TEST(ConfigReference, EveryKeyReadsTheValueItShows) {
  GatewayConfig config;
  config.name = "east-1";
  config.cluster = "east";
  config.underlay.interface = "eth0";
  config.local.device.interface = "isthmus0";
  config.hub_file = "/hub";
  config.etcd.clusters = "/var/lib/cilium/clustermesh";
  config.etcd.kvstoremesh = "/etc/isthmus/hub.yaml";
  config.etcd.register_at = "/etc/isthmus/own.yaml";
  config.kubernetes.cluster = "in-cluster";
  config.kubernetes.fleet = "/etc/isthmus/fleet.kubeconfig";
  config.dns_file = "/run/hosts";
  config.admin_socket = "/run/a.sock";
  config.translation_ipv4 = IpAddress::parse("10.1.255.1");
  config.translation_ipv6 = IpAddress::parse("fd00:1::ff:1");
  config.cores = {1, 3};
  for (const ConfigField& field : config_fields()) {
    if (field.key.ends_with(".dpdk")) {
      continue;  // none: the keys of AF_XDP's are shown
    }
    const std::string value = field.show(config);
    auto parsed = parse_yaml(field.key == "translation.ipv6" ? "\"" + value + "\"" : value);
    ASSERT_TRUE(std::holds_alternative<YamlNode>(parsed)) << field.key << ": " << value;
    GatewayConfig read;
    YamlErrors errors;
    field.read(std::get<YamlNode>(parsed), read, errors);
    EXPECT_TRUE(errors.empty()) << field.key << ": " << errors[0].what;
    EXPECT_EQ(field.show(read), value) << field.key;
  }
}

// What errors of a numeric key advise: the numbers in "write 2048 or 4096", "write a duration, 10ms to 1m".
std::vector<std::string> suggestions(const std::string& fix) {
  static const std::regex kValue("[0-9]+-[0-9]+|[0-9]+(ms|s|m|h)?\\b");
  return {std::sregex_token_iterator(fix.begin(), fix.end(), kValue), std::sregex_token_iterator()};
}

bool is_numeric(const ConfigField& field) {
  return std::any_of(field.type.begin(), field.type.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
         !field.type.starts_with("a name") && !field.type.starts_with("an ") && field.key != "translation.ipv4" &&
         field.key != "translation.ipv6";
}

YamlErrors load_errors(const ConfigField& field, const std::string& value) {
  const bool list = field.type.starts_with("list");
  auto parsed = parse_yaml(list ? "[" + value + "]" : value);
  GatewayConfig config;
  YamlErrors errors;
  if (auto* node = std::get_if<YamlNode>(&parsed)) {
    field.read(*node, config, errors);
  } else {
    ADD_FAILURE() << value;
  }
  return errors;
}

// Words, numbers around every power of two and around the field's bounds, and each of these with every unit.
std::vector<std::string> values_to_try(const ConfigField& field) {
  std::vector<std::string> values{"lots", "\"7\"", "-1", "1.5", "99999999999999999999", "5-4", "0-1", "70000-80000"};
  std::vector<std::uint64_t> numbers{0, 3000, 4095, 4096, 4097, 60'000, 1'000'000, 3'600'000};
  for (unsigned bit = 0; bit < 40; ++bit) {
    for (const std::uint64_t number : {(std::uint64_t{1} << bit) - 1, std::uint64_t{1} << bit,
                                       (std::uint64_t{1} << bit) + 1, (std::uint64_t{3} << bit) / 2}) {
      numbers.push_back(number);
    }
  }
  for (const std::string& bound : suggestions(field.type)) {
    const std::uint64_t number = std::strtoull(bound.c_str(), nullptr, 10);
    for (const std::uint64_t near : {number - 1, number, number + 1}) {
      numbers.push_back(near);
    }
  }
  for (const std::uint64_t number : numbers) {
    for (const char* unit : {"", "ms", "s", "m", "h", "d"}) {
      values.push_back(std::to_string(number) + unit);
    }
  }
  return values;
}

TEST(ConfigReference, AdviceIsAcceptedAndTwoSuggestionsDiffer) {
  unsigned fields = 0;
  for (const ConfigField& field : config_fields()) {
    if (!is_numeric(field) && field.key != "translation.ports" && field.key != "engine.cores") {
      continue;
    }
    ++fields;
    unsigned advised = 0;
    for (const std::string& value : values_to_try(field)) {
      for (const YamlError& error : load_errors(field, value)) {
        const auto offered = suggestions(error.fix);
        EXPECT_FALSE(offered.empty()) << field.key << ": " << value << ": " << error.fix;
        EXPECT_EQ(std::set<std::string>(offered.begin(), offered.end()).size(), offered.size())
            << field.key << ": " << value << ": " << error.fix;
        for (const std::string& one : offered) {
          EXPECT_TRUE(load_errors(field, one).empty()) << field.key << ": " << value << ": " << error.fix;
        }
        ++advised;
      }
    }
    EXPECT_GT(advised, 0u) << field.key;
  }
  EXPECT_GE(fields, 30u);
}

// The bounds that the reference names are themselves accepted.
TEST(ConfigReference, TheBoundsOfEveryNumericKeyAreAccepted) {
  for (const ConfigField& field : config_fields()) {
    if (is_numeric(field)) {
      for (const std::string& bound : suggestions(field.type)) {
        EXPECT_TRUE(load_errors(field, bound).empty()) << field.key << ": " << bound;
      }
    }
  }
}

TEST(ConfigReference, AKeyWithFewWordsAcceptsEachAndNoOther) {
  for (const ConfigField& field : config_fields()) {
    if (field.type.find(" or ") == std::string::npos || field.type.find_first_of("0123456789") != std::string::npos ||
        field.type.find("path") != std::string::npos) {
      continue;
    }
    for (const std::string& word : {std::string("perhaps"), std::string("[a]"), std::string("\"\"")}) {
      EXPECT_EQ(load_errors(field, word).size(), 1u) << field.key << ": " << word;
    }
    GatewayConfig config;
    std::string words = field.type;
    words.replace(words.find(" or "), 4, ", ");
    for (std::size_t at = 0; at <= words.size();) {
      const std::size_t end = std::min(words.find(", ", at), words.size());
      const std::string word = words.substr(at, end - at);
      at = end + 2;
      auto parsed = parse_yaml(word);
      YamlErrors errors;
      field.read(std::get<YamlNode>(parsed), config, errors);
      EXPECT_TRUE(errors.empty()) << field.key << ": " << word;
      EXPECT_EQ(field.show(config), word) << field.key;
    }
  }
}

}  // namespace
}  // namespace isthmus
