#include "control/cli/machine_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

constexpr const char* kConfigInitFooter =
    R"(Beside every value stands why it was chosen, and what was left out. What only a person knows, such as the cluster's
name, is left without a value and listed; 'isthmus config check' names the same until it is given. Changes nothing else.

Examples:
  isthmus config init --cluster east
  isthmus config init --cluster east --name east-1 --hub file --hub kubernetes=/etc/isthmus/kubeconfig -o -

Exit codes: 0 written (stderr lists what is to be given), 1 not written, 2 what was given cannot be used.)";

constexpr const char* kDoctorFooter =
    R"(Looks at kernel, capabilities, CPUs, interfaces, ports, hubs, certificates and state, with the gateway running or not, and
changes nothing. It asks the hubs as the gateway does, all at once, for 10 s at most. What an ordinary user may not see
is said; run it as the gateway's user for the rest.

  fails  the gateway does not start, or does not do what it is for
  slow   it works, but slower, or losing more, than it could; also what will fail soon
  note   to know

Examples:
  isthmus doctor --config /etc/isthmus/gateway.yaml
  isthmus doctor -o json | jq '.findings[] | select(.level == "fails")'

Exit codes: 0 nothing fails, 2 wrong command line, 4 something fails, the configuration's errors among it.)";

void read_translation(const std::vector<std::string>& texts, FirstConfigChoices& choices) {
  for (const std::string& text : texts) {
    const auto address = IpAddress::parse(text);
    if (!address) {
      throw CLI::ValidationError("--translation", "'" + text + "' is not an IP address");
    }
    choices.translation.push_back(*address);
  }
}

void read_hubs(const std::vector<std::string>& texts, FirstConfigChoices& choices) {
  for (const std::string& text : texts) {
    const auto equals = text.find('=');
    HubChoice hub{text.substr(0, equals), equals == std::string::npos ? "" : text.substr(equals + 1)};
    if (std::find(std::begin(kHubKinds), std::end(kHubKinds), hub.kind) == std::end(kHubKinds)) {
      throw CLI::ValidationError("--hub", "'" + hub.kind + "' is not file, etcd, kubernetes or fleet");
    }
    choices.hubs.push_back(std::move(hub));
  }
}

}  // namespace

void add_config_init(CLI::App& config, CommandLine& line) {
  CLI::App* sub = config.add_subcommand("init", "Write a first configuration from what this machine has");
  ConfigInitOptions& options = line.config_init;
  FirstConfigChoices& choices = options.choices;
  options.output = kUsualConfigFile;
  sub->add_option("-o,--output", options.output, "Where to write it; - for stdout")
      ->type_name("FILE")
      ->capture_default_str();
  sub->add_flag("--force", options.force, "Replace the file if there is one");
  sub->add_option("--name", choices.name, "gateway.name; without it the host's name")->type_name("NAME");
  sub->add_option("--cluster", choices.cluster, "gateway.cluster")->type_name("NAME");
  sub->add_option("--cluster-id", choices.cluster_id, "gateway.cluster_id, which hub.etcd needs")->type_name("NUMBER");
  sub->add_option("--interface", choices.interface, "Towards other gateways; without it that of the default route")
      ->type_name("NAME");
  sub->add_option("--local-interface", choices.local_interface,
                  "Towards this cluster; one that does not exist is made, as a veth pair. Without it: the same,\n"
                  "on a Kubernetes node isthmus0, a veth pair")
      ->type_name("NAME");
  sub->add_option_function<std::vector<std::string>>(
         "--translation", [&choices](const auto& texts) { read_translation(texts, choices); },
         "translation.ipv4 or .ipv6; once per family")
      ->type_name("IP");
  sub->add_option_function<std::vector<std::string>>(
         "--hub", [&choices](const auto& texts) { read_hubs(texts, choices); },
         "file, etcd, kubernetes or fleet, each with its path if it is not the usual one; several times.\n"
         "Without it: those that are found")
      ->type_name("KIND[=PATH]");
  sub->footer(kConfigInitFooter);
  sub->callback([&line] { line.verb = Verb::kConfigInit; });
}

void add_doctor(CLI::App& app, CommandLine& line) {
  CLI::App* sub = app.add_subcommand("doctor", "What will make a gateway fail or be slow on this machine, and its fix");
  sub->add_option("-c,--config", line.config_file,
                  "The gateway's configuration; without it " + std::string(kUsualConfigFile) + ", if there is one")
      ->type_name("FILE");
  sub->add_option("--name", line.name, "The gateway's name, in the place of gateway.name")->type_name("NAME");
  sub->add_flag("--all", line.doctor.all, "Also what is well");
  sub->add_option_function<std::string>(
         "-o,--output", [&line](const std::string& format) { line.doctor.json = format == "json"; },
         "table (for people) or json (for programs)")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("FORMAT")
      ->default_str("table");
  sub->footer(kDoctorFooter);
  sub->callback([&line] { line.verb = Verb::kDoctor; });
}

}  // namespace isthmus
