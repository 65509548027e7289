#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "config/load/fields.h"
#include "config/load/load.h"

namespace isthmus {
namespace {

TEST(ConfigReference, TheFileInTheSchemaFolderIsTheOneTheCodeWrites) {
  std::ifstream in(std::string(ISTHMUS_CONFIG_DIR) + "/schema/reference.md");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(text, config_reference()) << "write it again: ninja config/isthmus-config-reference && "
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

// A value shown can be written: what `describe` prints is what the reader of that key takes.
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
    const std::string value = field.show(config);
    auto parsed = parse_yaml(field.key == "translation.ipv6" ? "\"" + value + "\"" : value);
    ASSERT_TRUE(std::holds_alternative<YamlNode>(parsed)) << field.key << ": " << value;
    GatewayConfig read;
    YamlFaults faults;
    field.read(std::get<YamlNode>(parsed), read, faults);
    EXPECT_TRUE(faults.empty()) << field.key << ": " << faults[0].what;
    EXPECT_EQ(field.show(read), value) << field.key;
  }
}

}  // namespace
}  // namespace isthmus
