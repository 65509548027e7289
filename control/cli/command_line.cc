#include "control/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "control/admin/client.h"
#include "control/cli/exit_code.h"

namespace isthmus {
namespace {

constexpr const char* kFooter =
    R"(Examples:
  isthmus run -c /etc/isthmus/gateway.yaml       run a gateway in the foreground
  isthmus status                                 the only gateway of this machine
  isthmus flows --follow --pod shop/web          what happens to the packets of a pod
  isthmus drops                                  why packets were dropped
  isthmus policy trace --from west/shop/web-1 --to shop/cart-0 --port 8080/tcp
  isthmus connections -s east-1 --service web    of one service, of the gateway named east-1
  isthmus services -o json | jq .frontends       for programs
  isthmus allocate shop/web --hub /var/lib/isthmus/hub --cluster east --pool 10.200.0.0/24

Exit codes:
  0  done
  1  something could not be done; stderr says what and the remedy
  2  wrong command line, or a configuration that cannot be used
  3  no gateway answers on the admin socket

Environment:
  ISTHMUS_SOCKET   as --socket
  ISTHMUS_RUN_DIR  where sockets are looked for (default /run/isthmus)

The admin socket is open to root and to the group that admin.group names in the gateway's configuration.)";

constexpr const char* kRunFooter =
    R"(Stays in the foreground and logs to stderr. SIGTERM and SIGINT stop it cleanly, SIGHUP reads the hub again.
What it made on the node stays when it stops: the local device, the routes on it and the XDP program, so that fleet
traffic is dropped rather than sent in clear. 'isthmus cleanup' removes them.

Exit codes: 0 stopped by a signal, 1 could not start or go on, 2 the configuration cannot be used.)";

constexpr const char* kAllocateFooter =
    R"(Takes the lowest free address of each pool and writes a ServiceImport with them into the hub folder: one pool per
family. Running it again for the same service changes nothing and prints the same addresses. An address is never moved.

Example:
  isthmus allocate shop/web --hub /var/lib/isthmus/hub --cluster east --pool 10.200.0.0/24 --pool fd00:200::/120)";

constexpr const char* kPolicyFooter =
    R"(Without an endpoint: every policy of this cluster, with its state. A refused policy has no effect (its last good
version, if there was one, stays in force as 'outdated'); the reason is listed below the table and by isthmus status.
Only endpoints of this gateway's own cluster have policies here: egress of what they send, ingress of what they get.

Examples:
  isthmus policy
  isthmus policy shop/cart-0
  isthmus policy west/shop/web-1 -o json
  isthmus policy trace --from west/shop/web-1 --to shop/cart-0 --port 8080/tcp

Exit codes, environment: isthmus --help)";

constexpr const char* kTraceFooter =
    R"(Ends of the connection are pods as [CLUSTER/]NAMESPACE/POD, nodes as [CLUSTER/]NODE, addresses, or labels of nobody
in particular: app=web,io.kubernetes.pod.namespace=shop,io.cilium.k8s.policy.cluster=west. The port is that of the pod,
behind the service's. Every rule of the two ends is listed with what it says; exit code 0 for either verdict.

Example:
  isthmus policy trace --from west/shop/web-1 --to 10.1.0.7 --port 53/udp)";
constexpr const char* kFlowsFooter =
    R"(A filter that is given several times passes what one of its values passes; different filters must all pass.

Examples:
  isthmus flows --follow --verdict dropped           packets as they are dropped, and why
  isthmus flows --since 5m --pod shop/web --port 80  the last five minutes of one pod
  isthmus flows --last 1000 -o json | hubble observe --input-file -    by Hubble's own tool

Exit codes and environment: isthmus --help)";

// Values CLI11 writes into while it parses.
struct Words {
  CommandLine line;
  std::string output, address;
  std::optional<std::uint32_t> identity;
};

std::string from_environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::string(value) : otherwise;
}

// A command that asks a running gateway.
CLI::App* add_question(CLI::App& app, Words& words, AdminCommand command, const char* name, const char* what) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->add_option("-s,--socket", words.line.query.socket,
                  "The gateway's admin socket: a path, or the gateway's name for NAME.sock in /run/isthmus.\n"
                  "Without it: the only gateway that runs here")
      ->type_name("PATH|NAME");
  sub->footer("Exit codes, environment and examples: isthmus --help");
  sub->callback([&words, command] {
    words.line.verb = Verb::kQuery;
    words.line.query.request.command = command;
  });
  return sub;
}

CLI::App* add_query(CLI::App& app, Words& words, AdminCommand command, const char* name, const char* what) {
  CLI::App* sub = add_question(app, words, command, name, what);
  sub->add_option("-o,--output", words.output, "table (for people) or json (for programs)")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("FORMAT")
      ->default_str("table");
  return sub;
}

void add_flows(CLI::App& app, Words& words) {
  CLI::App* sub =
      add_question(app, words, AdminCommand::kFlows, "flows",
                   "What happened: connections opened and closed, packets dropped, as hubble observe shows it");
  FlowQuery& query = words.line.query.request.flows;
  sub->add_option("-o,--output", words.output,
                  "compact (for people) or json (one object per line, as Hubble writes it)")
      ->check(CLI::IsMember({"compact", "json"}))
      ->type_name("FORMAT")
      ->default_str("compact");
  sub->add_flag("-f,--follow", query.follow, "Go on with flows as they happen");
  sub->add_option("--last", query.last, "How many of those that are kept: 20, or none with --follow or --since")
      ->check(CLI::Range(0U, kMaxLastFlows))
      ->type_name("N");
  sub->add_option("--since", query.since, "Only flows after this: 5m ago, or a time as 2026-11-22T23:59:00Z")
      ->type_name("TIME");
  for (const FlowFilterName& filter : kFlowFilters) {
    sub->add_option("--" + std::string(filter.name), query.filters[std::string(filter.name)], std::string(filter.help))
        ->type_name(std::string(filter.value))
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->group("Filters");
  }
  sub->footer(kFlowsFooter);
}

void add_service_filter(CLI::App* sub, Words& words) {
  sub->add_option("--service", words.line.query.request.service, "Only this service: NAMESPACE/NAME, or a part of it")
      ->type_name("NAME");
}
void add_address_filter(CLI::App* sub, Words& words, const char* what) {
  sub->add_option("--address", words.address, what)->type_name("IP");
}
void add_cluster_filter(CLI::App* sub, Words& words) {
  sub->add_option("--cluster", words.line.query.request.cluster, "Only this cluster's")->type_name("NAME");
}
void add_limit(CLI::App* sub, Words& words) {
  sub->add_option("--limit", words.line.query.request.limit, "How many to show at most")
      ->check(CLI::Range(1U, kMaxRows))
      ->type_name("N")
      ->capture_default_str();
}

void add_policy(CLI::App& app, Words& words) {
  AdminRequest& request = words.line.query.request;
  CLI::App* policy = add_query(app, words, AdminCommand::kPolicy, "policy",
                               "Policies and their state, what applies to an endpoint, and why a connection may pass");
  policy->add_option("ENDPOINT", request.endpoint, "[CLUSTER/]NAMESPACE/POD, or an address: what applies to it")
      ->type_name("");
  add_limit(policy, words);
  policy->footer(kPolicyFooter);
  CLI::App* trace = add_query(*policy, words, AdminCommand::kPolicy, "trace",
                              "May FROM talk to TO? The verdict, every rule considered, and the one that decides");
  trace->add_option("--from", request.from, "Who opens the connection")->required()->type_name("END");
  trace->add_option("--to", request.to, "Whom it is for")->required()->type_name("END");
  trace->add_option("--port", request.port, "NUMBER/tcp, NUMBER/udp, TYPE/icmp, TYPE/icmpv6")
      ->required()
      ->type_name("PORT");
  trace->footer(kTraceFooter);
}

void add_queries(CLI::App& app, Words& words) {
  CLI::App* status = add_query(app, words, AdminCommand::kStatus, "status",
                               "What a gateway is doing: devices, peers, connections, problems");
  status->add_flag("--hub", words.line.query.view.hub,
                   "The hubs instead: every cluster's or resource's state, last event, refused values, last error");

  CLI::App* services = add_query(app, words, AdminCommand::kServices, "services",
                                 "Global services: frontends, and their backends per cluster with their state");
  add_service_filter(services, words);
  add_address_filter(services, words, "Only frontends with this VIP or backend");
  add_cluster_filter(services, words);
  add_limit(services, words);
  services->add_flag("--backends", words.line.query.view.each_backend, "One line per backend");

  CLI::App* endpoints = add_query(app, words, AdminCommand::kEndpoints, "endpoints",
                                  "Endpoints of the fleet: address, cluster, identity, labels");
  add_address_filter(endpoints, words, "Only this address");
  add_cluster_filter(endpoints, words);
  endpoints->add_option("--namespace", words.line.query.request.name_space, "Only pods of this namespace")
      ->type_name("NAME");
  endpoints->add_option("--identity", words.identity, "Only those under this identity")->type_name("NUMBER");
  endpoints->add_option("--label", words.line.query.request.label, "Only those with this label: KEY, or KEY=VALUE")
      ->type_name("LABEL");
  add_limit(endpoints, words);

  CLI::App* connections = add_query(app, words, AdminCommand::kConnections, "connections",
                                    "Connections: client, frontend, backend, state, packets, idle time");
  add_service_filter(connections, words);
  add_address_filter(connections, words, "Only connections with this client, frontend or backend");
  add_limit(connections, words);

  add_flows(app, words);

  add_policy(app, words);

  CLI::App* drops = add_query(app, words, AdminCommand::kDrops, "drops",
                              "Why packets were dropped since the gateway's start, and where to look");
  drops->add_flag("--all", words.line.query.view.all_drops, "Also the reasons that have not occurred");
}

void add_config_option(CLI::App* sub, Words& words) {
  sub->add_option("-c,--config", words.line.config_file, "The gateway's configuration")->required()->type_name("FILE");
}

void add_config_commands(CLI::App& app, Words& words) {
  CLI::App* run = app.add_subcommand("run", "Run a gateway in the foreground");
  add_config_option(run, words);
  run->footer(kRunFooter);
  run->callback([&words] { words.line.verb = Verb::kRun; });

  CLI::App* config = app.add_subcommand("config", "Work with a configuration file");
  config->require_subcommand(1);
  CLI::App* check =
      config->add_subcommand("check", "Read a configuration and say what is wrong with it, with file and line");
  check->add_option("FILE", words.line.config_file, "The gateway's configuration")->required()->type_name("");
  check->callback([&words] { words.line.verb = Verb::kConfigCheck; });

  CLI::App* cleanup = app.add_subcommand(
      "cleanup", "Remove what a stopped gateway left on this node: local device, routes on it, XDP program");
  add_config_option(cleanup, words);
  cleanup->footer("The gateway must not be running. From then on fleet traffic follows the node's ordinary routes.");
  cleanup->callback([&words] { words.line.verb = Verb::kCleanup; });
}

void add_allocate(CLI::App& app, Words& words) {
  CLI::App* sub = app.add_subcommand("allocate", "Give a service its VIPs: write a claim into a file hub");
  AllocateOptions& options = words.line.allocate;
  sub->add_option("SERVICE", options.service, "The service, as NAMESPACE/NAME")->required()->type_name("");
  sub->add_option("--hub", options.hub, "The hub folder")->required()->type_name("DIR");
  sub->add_option("--cluster", options.cluster, "The cluster in whose folder the claim is written")
      ->required()
      ->type_name("NAME");
  sub->add_option("--pool", options.pools, "Where addresses are taken from; once per family")
      ->required()
      ->type_name("CIDR");
  sub->footer(kAllocateFooter);
  sub->callback([&words] { words.line.verb = Verb::kAllocate; });
}

std::optional<CommandLine> refuse(const std::string& what, int& exit_code) {
  std::fprintf(stderr, "isthmus: %s\nTry 'isthmus --help'.\n", what.c_str());
  exit_code = kExitUsage;
  return std::nullopt;
}

}  // namespace

std::optional<CommandLine> parse_command_line(int argc, char** argv, int& exit_code) {
  Words words;
  CLI::App app{"Isthmus, a gateway between the Kubernetes clusters of a fleet.", "isthmus"};
  app.set_version_flag("--version", std::string("isthmus ") + ISTHMUS_VERSION);
  app.footer(kFooter);
  app.require_subcommand(1);
  add_config_commands(app, words);
  add_queries(app, words);
  add_allocate(app, words);
  app.add_subcommand("version", "Print the version")->callback([&words] { words.line.verb = Verb::kVersion; });
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    exit_code = app.exit(done);
    return std::nullopt;
  } catch (const CLI::ParseError& wrong) {
    return refuse(wrong.what(), exit_code);
  }
  QueryOptions& query = words.line.query;
  if (!words.address.empty()) {
    query.request.address = IpAddress::parse(words.address);
    if (!query.request.address) {
      return refuse("--address: '" + words.address + "' is not an IP address", exit_code);
    }
  }
  if (query.request.command == AdminCommand::kFlows) {
    if (const Status status = check_flow_query(query.request.flows); !status) {
      return refuse(status.error().what + ": " + status.error().remedy, exit_code);
    }
  }
  if (words.identity) {
    query.request.identity = Identity{*words.identity};
  }
  query.view.json = words.output == "json";
  query.run_folder = from_environment("ISTHMUS_RUN_DIR", std::string(kAdminFolder));
  if (query.socket.empty()) {
    query.socket = from_environment("ISTHMUS_SOCKET", "");
  }
  return words.line;
}

}  // namespace isthmus
