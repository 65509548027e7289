// Prints the reference of the configuration from the table of its keys.
#include <string>

#include "config/load/fields.h"
#include "config/load/load.h"

namespace isthmus {
namespace {

constexpr auto kIntroduction = R"(# Configuration reference

One YAML file per gateway, read at start: `isthmus run --config FILE`; `isthmus config check FILE` lists every error
with its line and fix. Complete examples are in `config/examples/` and are read by a test. Keys are written nested:
`engine.workers` is `workers` below `engine`. A key that is not listed here is an error.

Durations are a whole number with its unit: `150ms`, `10s`, `2m`, `1h`.

A file may be that of several gateways: `isthmus run --name NAME`, or ISTHMUS_NAME in the environment, says which one it
is, and keys below `gateways.NAME` take the place of the same keys outside for the gateway of that name.
`isthmus config check` without a name checks the file for each that is listed.

The gateway's tunnel address and port come from its Gateway object in the hub; the cluster's number and address blocks
come from its Cluster object.
)";

// The default as it would be written in the file, or that there is none.
std::string default_text(const ConfigField& field) {
  if (field.required) {
    return "*required*";
  }
  if (field.key == "admin.socket") {
    return "`/run/isthmus/<name>.sock`";
  }
  const std::string value = field.show(GatewayConfig{});
  return value.empty() ? "none" : "`" + value + "`";
}

}  // namespace

std::string config_reference() {
  std::string out = kIntroduction;
  std::string section;
  for (const ConfigField& field : config_fields()) {
    const std::string field_section = field.key.substr(0, field.key.find('.'));
    if (field_section != section) {
      section = field_section;
      out += "\n## " + section + "\n\n| key | value | default | meaning |\n|---|---|---|---|\n";
    }
    out += "| `" + field.key + "` | " + field.type + " | " + default_text(field) + " | " + field.text + " |\n";
  }
  return out;
}

}  // namespace isthmus
