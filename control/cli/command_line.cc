#include "control/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "control/admin/client.h"
#include "control/cli/exit_code.h"
#include "control/cli/machine_options.h"

namespace isthmus {
namespace {

constexpr const char* kFooter =
    R"(Examples:
  isthmus config init --cluster east             a first configuration for this machine
  isthmus doctor                                 what will make it fail or be slow here
  isthmus run -c /etc/isthmus/gateway.yaml       run a gateway in the foreground
  isthmus status                                 the only gateway of this machine
  isthmus flows --follow --pod shop/web          what happens to the packets of a pod
  isthmus drops                                  why packets were dropped
  isthmus policy trace --from west/shop/web-1 --to shop/cart-0 --port 8080/tcp
  isthmus connections -s east-1 --service web    of one service, of the gateway named east-1
  isthmus services -o json | jq .frontends       for programs
  isthmus allocate shop/web --kubeconfig ~/.kube/config --pool 10.200.0.0/24
  isthmus allocate --alias south --hub DIR --pool 100.64.0.0/10    where pods of two clusters have the same addresses

Exit codes:
  0  done
  1  something could not be done; stderr says what and the fix
  2  wrong command line, or a configuration that cannot be used
  3  no gateway answers on the admin socket
  4  isthmus doctor has found what makes a gateway fail

Environment:
  ISTHMUS_SOCKET   as --socket
  ISTHMUS_NAME     as --name
  ISTHMUS_RUN_DIR  where sockets are searched for (default /run/isthmus)

The admin socket is open to root and to the group that admin.group names in the gateway's configuration.)";

constexpr const char* kRunFooter =
    R"(Stays in the foreground and logs to stderr. SIGTERM and SIGINT stop it, SIGHUP reloads the hubs. Where a gateway of
the same name runs, it takes over from that one. With handover.wait, a gateway that is told to stop forwards on that long
for a successor; a second signal to the pid that 'isthmus status' shows ends it at once.
After a stop the local device, the routes on it and the XDP programs stay in place, so that fleet traffic is dropped
rather than routed around the tunnel; settled flows that are handed down go on for engine.kernel_flow_hold where
/sys/fs/bpf is a BPF file system, and no change of policy reaches them meanwhile. 'isthmus cleanup' removes them.

Exit codes: 0 stopped by a signal, 1 could not start or continue, 2 the configuration cannot be used.)";

constexpr const char* kAllocateFooter =
    R"(VIPs: takes the lowest free address of each pool, one pool per family, and writes it into the hub: a ServiceImport in
a folder, the annotation isthmus.io/vip of the Service at an API server.

Aliases (--alias): where pods of several clusters have the same addresses, blocks by which the rest of the fleet calls
those of one of them. For each of its blocks of pods (podCIDRs of its Cluster, or what a profile allows it) that has no
alias, takes the lowest free block that is as large, and writes the CrossClusterNetworkProfile alias-CLUSTER. A block is
free if no cluster's pods, aliases, nodes, gateways, VIPs or pools of VIPs have addresses of it, as far as the hub says.
Every hub of the fleet needs the same claims: where clusters have API servers of their own, apply the profile to all.

Running it again for the same service or cluster changes nothing and prints the same. A claim never moves. Two that run
at once never give the same to two services or clusters of one hub; API servers do not know of each other's claims: for
VIPs, give each cluster pools of its own; for aliases, allocate at one of them.

At an API server it needs list on services, and on clusters and gateways of isthmus.io and serviceimports of
multicluster.x-k8s.io where these are installed; patch on services; without --pool, list on crossclusternetworkprofiles.
With --alias, list on nodes, and list, create and patch on crossclusternetworkprofiles, instead of patch on services.

Examples:
  isthmus allocate shop/web --hub /var/lib/isthmus/hub --cluster east --pool 10.200.0.0/24 --pool fd00:200::/120
  isthmus allocate shop/web --kubeconfig ~/.kube/config --cluster east --dry-run
  isthmus allocate --alias south --hub /var/lib/isthmus/hub --pool 100.64.0.0/10 --pool fd64::/32)";

constexpr std::uint64_t kDefaultDrainMs = 5000;
constexpr const char* kDrainFooter =
    R"(Its peers' probes are answered with it, so that they send to other gateways of its cluster that answer and are not
drained; what still comes is forwarded, such as what the nodes' own routes bring: move these, too. Where none is left,
peers go on sending here, and the command says so. /readyz answers 503. It is drained until 'isthmus drain --undo', or
until its process ends: a successor of the same name is not.

Examples:
  isthmus drain                    before the only gateway of this machine is stopped: a pod's pre-stop hook
  isthmus drain --wait 10s && systemctl stop isthmus
  isthmus drain --undo

Exit codes, environment: isthmus --help)";

constexpr const char* kPolicyFooter =
    R"(Without an endpoint: every policy of this cluster, with its state. Of a refused policy no rule with an error
applies, and what it selects stays closed in the directions it names; its last good version, if there was one, stays in
force as 'outdated'. The reason is listed below the table and by isthmus status.
Only endpoints of this gateway's own cluster have policies here: egress of what they send, ingress of what they receive.

Examples:
  isthmus policy
  isthmus policy shop/cart-0
  isthmus policy west/shop/web-1 -o json
  isthmus policy trace --from west/shop/web-1 --to shop/cart-0 --port 8080/tcp

Exit codes, environment: isthmus --help)";

constexpr const char* kTraceFooter =
    R"(Ends of the connection are pods as [CLUSTER/]NAMESPACE/POD, nodes as [CLUSTER/]NODE, addresses, or just labels:
app=web,io.kubernetes.pod.namespace=shop,io.cilium.k8s.policy.cluster=west. The port is the pod's, not the service's.
Every rule of the two ends is listed with whether it matches; the exit code is 0 for either verdict.

Example:
  isthmus policy trace --from west/shop/web-1 --to 10.1.0.7 --port 53/udp)";

constexpr const char* kFlowsFooter =
    R"(A filter given several times passes flows that match any of its values; different filters must all match.
Of an end that the rest of the fleet knows by an alias, both addresses are shown: "alias OWN=ALIAS" at the end of the
line, in json extensions.value.source and extensions.value.destination, with own and alias.

Examples:
  isthmus flows --follow --verdict dropped           dropped packets as they occur, and why
  isthmus flows --since 5m --pod shop/web --port 80  the last five minutes of one pod
  isthmus flows --last 1000 -o json | hubble observe --input-file -    with Hubble's own command line

Exit codes and environment: isthmus --help)";

// What CLI11 writes into while it parses.
struct ParsedOptions {
  CommandLine line;
  std::string output, address;
  std::optional<std::uint32_t> identity;
  std::uint64_t wait_ms = 0;
};

std::string from_environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::string(value) : otherwise;
}

// A command that asks a running gateway.
CLI::App* add_gateway_command(CLI::App& app, ParsedOptions& parsed, AdminCommand command, const char* name,
                              const char* what) {
  CLI::App* sub = app.add_subcommand(name, what);
  sub->add_option("-s,--socket", parsed.line.query.socket,
                  "The gateway's admin socket: a path, or the gateway's name for NAME.sock in /run/isthmus.\n"
                  "Without it: the only gateway that runs here")
      ->type_name("PATH|NAME");
  sub->footer("Exit codes, environment and examples: isthmus --help");
  sub->callback([&parsed, command] {
    parsed.line.verb = Verb::kQuery;
    parsed.line.query.request.command = command;
  });
  return sub;
}

CLI::App* add_query(CLI::App& app, ParsedOptions& parsed, AdminCommand command, const char* name, const char* what) {
  CLI::App* sub = add_gateway_command(app, parsed, command, name, what);
  sub->add_option("-o,--output", parsed.output, "table (for people) or json (for programs)")
      ->check(CLI::IsMember({"table", "json"}))
      ->type_name("FORMAT")
      ->default_str("table");
  return sub;
}

void add_flows(CLI::App& app, ParsedOptions& parsed) {
  CLI::App* sub =
      add_gateway_command(app, parsed, AdminCommand::kFlows, "flows",
                          "What happened: connections opened and closed, packets dropped, as hubble observe shows it");
  FlowQuery& query = parsed.line.query.request.flows;
  sub->add_option("-o,--output", parsed.output,
                  "compact (for people) or json (one object per line, as Hubble writes it)")
      ->check(CLI::IsMember({"compact", "json"}))
      ->type_name("FORMAT")
      ->default_str("compact");
  sub->add_flag("-f,--follow", query.follow, "Continue with flows as they happen");
  sub->add_option("--last", query.last,
                  "How many of the kept flows: default 20, or none with --follow, or all with --since")
      ->check(CLI::Range(0U, kMaxLastFlows))
      ->type_name("N");
  sub->add_option("--since", query.since,
                  "Only flows after this: a time ago (5m), or a time such as 2026-11-22T23:59:00Z")
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

void add_service_filter(CLI::App* sub, ParsedOptions& parsed) {
  sub->add_option("--service", parsed.line.query.request.service, "Only this service: NAMESPACE/NAME, or a part of it")
      ->type_name("NAME");
}
void add_address_filter(CLI::App* sub, ParsedOptions& parsed, const char* what) {
  sub->add_option("--address", parsed.address, what)->type_name("IP");
}
void add_cluster_filter(CLI::App* sub, ParsedOptions& parsed) {
  sub->add_option("--cluster", parsed.line.query.request.cluster, "Only this cluster's")->type_name("NAME");
}
void add_limit(CLI::App* sub, ParsedOptions& parsed) {
  sub->add_option("--limit", parsed.line.query.request.limit, "How many to show at most")
      ->check(CLI::Range(1U, kMaxRows))
      ->type_name("N")
      ->capture_default_str();
}

void add_policy(CLI::App& app, ParsedOptions& parsed) {
  AdminRequest& request = parsed.line.query.request;
  CLI::App* policy = add_query(app, parsed, AdminCommand::kPolicy, "policy",
                               "Policies and their state, the rules of an endpoint, and why a connection may pass");
  policy->add_option("ENDPOINT", request.endpoint, "[CLUSTER/]NAMESPACE/POD, or an address: the rules for it")
      ->type_name("");
  add_limit(policy, parsed);
  policy->footer(kPolicyFooter);
  CLI::App* trace = add_query(*policy, parsed, AdminCommand::kPolicy, "trace",
                              "May FROM talk to TO? The verdict, every rule considered, and the one that decides");
  trace->add_option("--from", request.from, "Who opens the connection")->required()->type_name("END");
  trace->add_option("--to", request.to, "Whom it is opened to")->required()->type_name("END");
  trace->add_option("--port", request.port, "NUMBER/tcp, NUMBER/udp, NUMBER/sctp, TYPE/icmp, TYPE/icmpv6")
      ->required()
      ->type_name("PORT");
  trace->footer(kTraceFooter);
}

void add_queries(CLI::App& app, ParsedOptions& parsed) {
  CLI::App* status = add_query(app, parsed, AdminCommand::kStatus, "status",
                               "What a gateway is doing: devices, peers, connections, problems");
  CLI::Option* hub =
      status->add_flag("--hub", parsed.line.query.view.hub,
                       "Show the hubs: state, last event, refused values and last error of every cluster or resource");
  status->add_flag("--counters", parsed.line.query.view.counters, "Show every counter, with what it means")
      ->excludes(hub);

  CLI::App* services = add_query(app, parsed, AdminCommand::kServices, "services",
                                 "Global services: frontends, and their backends per cluster with their state");
  add_service_filter(services, parsed);
  add_address_filter(services, parsed, "Only frontends with this VIP or backend");
  add_cluster_filter(services, parsed);
  add_limit(services, parsed);
  services->add_flag("--backends", parsed.line.query.view.each_backend, "One line per backend");

  CLI::App* endpoints = add_query(app, parsed, AdminCommand::kEndpoints, "endpoints",
                                  "Endpoints of the fleet: address, cluster, identity, labels");
  add_address_filter(endpoints, parsed, "Only this address");
  add_cluster_filter(endpoints, parsed);
  endpoints->add_option("--namespace", parsed.line.query.request.ns, "Only pods of this namespace")->type_name("NAME");
  endpoints->add_option("--identity", parsed.identity, "Only those with this identity")->type_name("NUMBER");
  endpoints->add_option("--label", parsed.line.query.request.label, "Only those with this label: KEY, or KEY=VALUE")
      ->type_name("LABEL");
  add_limit(endpoints, parsed);

  CLI::App* connections = add_query(app, parsed, AdminCommand::kConnections, "connections",
                                    "Connections: client, frontend, backend, state, packets, idle time");
  add_service_filter(connections, parsed);
  add_address_filter(connections, parsed, "Only connections with this client, frontend or backend");
  add_limit(connections, parsed);

  add_flows(app, parsed);

  add_policy(app, parsed);

  CLI::App* drops = add_query(app, parsed, AdminCommand::kDrops, "drops",
                              "Why packets were dropped or lost since the gateway's start, and where to look");
  drops->add_flag("--all", parsed.line.query.view.all_drops, "Also the reasons that have not occurred");
}

void add_drain(CLI::App& app, ParsedOptions& parsed) {
  CLI::App* sub = add_gateway_command(app, parsed, AdminCommand::kDrain, "drain",
                                      "Have peers send elsewhere, before a gateway is stopped");
  QueryOptions& query = parsed.line.query;
  parsed.wait_ms = kDefaultDrainMs;
  CLI::Option* undo = sub->add_flag("--undo", query.request.undo, "Let peers send to it again");
  sub->add_option("--wait", parsed.wait_ms, "Return after this time, or when the gateway has ended: ms, s, m")
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, std::uint64_t>{{"ms", 1}, {"s", 1000}, {"m", 60'000}}))
      ->type_name("TIME")
      ->default_str("5s")
      ->excludes(undo);
  sub->footer(kDrainFooter);
}

void add_config_option(CLI::App* sub, ParsedOptions& parsed) {
  sub->add_option("-c,--config", parsed.line.config_file, "The gateway's configuration")->required()->type_name("FILE");
}

void add_name_option(CLI::App* sub, ParsedOptions& parsed) {
  sub->add_option("--name", parsed.line.name,
                  "The gateway's name, in the place of gateway.name in the configuration, which several may share")
      ->type_name("NAME");
}

void add_config_commands(CLI::App& app, ParsedOptions& parsed) {
  CLI::App* run = app.add_subcommand("run", "Run a gateway in the foreground");
  add_config_option(run, parsed);
  add_name_option(run, parsed);
  run->footer(kRunFooter);
  run->callback([&parsed] { parsed.line.verb = Verb::kRun; });

  CLI::App* config = app.add_subcommand("config", "Work with a configuration file");
  config->require_subcommand(1);
  CLI::App* check = config->add_subcommand("check", "Check a configuration: every error with file, line and fix");
  check->add_option("FILE", parsed.line.config_file, "The gateway's configuration")->required()->type_name("");
  add_name_option(check, parsed);
  check->callback([&parsed] { parsed.line.verb = Verb::kConfigCheck; });

  add_config_init(*config, parsed.line);

  CLI::App* cleanup = app.add_subcommand(
      "cleanup",
      "Remove what a stopped gateway left on this node: local device, interfaces beside DPDK, routes and "
      "rules, XDP programs and the flows that "
      "they forward, connection table, what is kept of the hubs");
  add_config_option(cleanup, parsed);
  add_name_option(cleanup, parsed);
  cleanup->add_flag("--keep-known", parsed.line.keep_known,
                    "Leave what is kept of the hubs (state.last_known_directory)");
  cleanup->footer("The gateway must not be running. Afterwards fleet traffic follows the node's ordinary routes.");
  cleanup->callback([&parsed] { parsed.line.verb = Verb::kCleanup; });
}

void add_allocate(CLI::App& app, ParsedOptions& parsed) {
  CLI::App* sub =
      app.add_subcommand("allocate", "Give a service its VIPs, or a cluster its aliases: write a claim into a hub");
  AllocateOptions& options = parsed.line.allocate;
  CLI::Option_group* what = sub->add_option_group("Claim");
  CLI::Option* service = what->add_option("SERVICE", options.service, "The service, as NAMESPACE/NAME")->type_name("");
  CLI::Option* alias = what->add_option("--alias", options.alias, "The cluster, for aliases of its pods' addresses")
                           ->type_name("CLUSTER");
  for (CLI::Option* option : {service, alias}) {
    option->check([](const std::string& text) { return std::string(text.empty() ? "an empty name" : ""); });
  }
  what->require_option(1);
  CLI::Option_group* where = sub->add_option_group("Hub");
  CLI::Option* folder = where->add_option("--hub", options.hub, "The hub folder")->type_name("DIR");
  CLI::Option* server =
      where
          ->add_option("--kubeconfig", options.kubeconfig,
                       "The cluster's API server: a kubeconfig, or in-cluster for the pod's service account")
          ->type_name("FILE");
  where->require_option(1);
  sub->add_option("--context", options.context, "Of the kubeconfig; default: its current one")
      ->type_name("NAME")
      ->needs(server);
  sub->add_option("--cluster", options.cluster, "The cluster that the service is of; --hub needs it")
      ->type_name("NAME")
      ->needs(service);
  CLI::Option* pool =
      sub->add_option("--pool", options.pools,
                      "Prefix to take addresses from; for VIPs once per family. Default, for VIPs with --kubeconfig: "
                      "the vipPools that profiles there give to the cluster by name")
          ->type_name("CIDR");
  folder->needs(pool);
  alias->needs(pool);
  sub->add_flag("--dry-run", options.dry_run, "Say what would be claimed; claim nothing");
  sub->footer(kAllocateFooter);
  sub->callback([&parsed] { parsed.line.verb = Verb::kAllocate; });
}

std::optional<CommandLine> refuse(const std::string& what, int& exit_code) {
  std::fprintf(stderr, "isthmus: %s\nTry 'isthmus --help'.\n", what.c_str());
  exit_code = kExitUsage;
  return std::nullopt;
}

}  // namespace

std::optional<CommandLine> parse_command_line(int argc, char** argv, int& exit_code) {
  ParsedOptions parsed;
  CLI::App app{"Isthmus, a gateway between the Kubernetes clusters of a fleet.", "isthmus"};
  app.set_version_flag("--version", std::string("isthmus ") + ISTHMUS_VERSION);
  app.footer(kFooter);
  app.require_subcommand(1);
  add_config_commands(app, parsed);
  add_doctor(app, parsed.line);
  add_queries(app, parsed);
  add_drain(app, parsed);
  add_allocate(app, parsed);
  app.add_subcommand("version", "Print the version")->callback([&parsed] { parsed.line.verb = Verb::kVersion; });
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {
    exit_code = app.exit(done);
    return std::nullopt;
  } catch (const CLI::Error& wrong) {
    return refuse(wrong.what(), exit_code);
  }
  QueryOptions& query = parsed.line.query;
  if (!parsed.address.empty()) {
    query.request.address = IpAddress::parse(parsed.address);
    if (!query.request.address) {
      return refuse("--address: '" + parsed.address + "' is not an IP address", exit_code);
    }
  }
  if (query.request.command == AdminCommand::kFlows) {
    if (const Status status = check_flow_query(query.request.flows); !status) {
      return refuse(status.error().what + ": " + status.error().fix, exit_code);
    }
  }
  if (parsed.identity) {
    query.request.identity = Identity{*parsed.identity};
  }
  query.wait = std::chrono::milliseconds(parsed.wait_ms);
  query.view.json = parsed.output == "json";
  query.run_folder = from_environment("ISTHMUS_RUN_DIR", std::string(kAdminFolder));
  if (parsed.line.name.empty()) {
    parsed.line.name = from_environment("ISTHMUS_NAME", "");
  }
  if (query.socket.empty()) {
    query.socket = from_environment("ISTHMUS_SOCKET", "");
  }
  return parsed.line;
}

}  // namespace isthmus
