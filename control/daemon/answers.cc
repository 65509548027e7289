#include "control/daemon/answers.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "control/admin/replies.h"
#include "control/daemon/log.h"
#include "control/daemon/policy_answers.h"
#include "control/observe/metrics_page.h"

namespace isthmus {
namespace {

std::uint64_t milliseconds_since(std::chrono::steady_clock::time_point then) {
  const auto passed = std::chrono::steady_clock::now() - then;
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(passed).count());
}

const char* health_text(const PeerHealth& peer) {
  if (peer.draining && peer.state != PeerState::kUnreachable) {
    return "draining";
  }
  switch (peer.state) {
    case PeerState::kUntried:
      return "untried";
    case PeerState::kAlive:
      return "alive";
    case PeerState::kSuspect:
      return "suspect";
    case PeerState::kUnreachable:
      break;
  }
  return "unreachable";
}

const char* source_text(PathMtuSource source) {
  switch (source) {
    case PathMtuSource::kDevice:
      return "device";
    case PathMtuSource::kClaim:
      return "icmp";
    case PathMtuSource::kProbes:
      break;
  }
  return "probes";
}

// Nodes are many, and a scrape does not show them.
enum class PeerScope : std::uint8_t { kAll, kGateways };

// What the loop knows of peers.
struct PeerStates {
  std::map<PeerId, PeerHealth> health;
  std::map<PeerId, PathMtuView> paths;  // of those and of others that have one
  Bytes device_mtu;
  std::set<AdjacencyId> resolved;
};

PeerStates peer_states(const ActiveGateway& active) {
  PeerStates states;
  for (PeerHealth& peer : active.health().peers()) {
    const PeerId id = peer.peer.id;
    states.health.emplace(id, std::move(peer));
  }
  states.paths = active.path_mtus().views();
  states.device_mtu = active.node().engine->device(active.node().underlay).mtu();
  states.resolved = active.adjacencies().resolved();
  return states;
}

std::vector<PeerRow> peer_rows(const Compiler& compiler, const PeerStates& states, PeerScope scope) {
  std::vector<PeerRow> rows;
  for (const PeerView& peer : scope == PeerScope::kAll ? compiler.peers() : compiler.gateways()) {
    PeerRow row;
    row.id = peer.id;
    row.name = peer.name;
    row.cluster = peer.cluster;
    row.address = peer.underlay;
    row.port = peer.port;
    row.encapsulation = encapsulation_info(peer.encapsulation).name;
    row.gateway = peer.gateway;
    row.reachable = states.resolved.contains(peer.adjacency);
    if (const auto known = states.health.find(peer.id); known != states.health.end()) {
      const PeerHealth& h = known->second;
      row.health = health_text(h);
      row.round_trip_us = static_cast<std::uint64_t>(h.round_trip.count()) / 1000;
      row.failures = h.failures;
      if (h.last_answer != HealthTime()) {
        row.last_answer_ms = milliseconds_since(h.last_answer);
      }
    }
    const auto path = states.paths.find(peer.id);
    const PathMtuView mtu = path == states.paths.end() ? PathMtuView{states.device_mtu} : path->second;
    const std::uint32_t overhead = encapsulation_overhead(peer.encapsulation, peer.underlay.family()).value();
    row.path_mtu = mtu.mtu;
    row.inner_mtu = Bytes{std::min(mtu.mtu.value(), states.device_mtu.value()) - overhead};
    row.path_mtu_source = source_text(mtu.source);
    row.path_black_hole = mtu.black_hole;
    rows.push_back(std::move(row));
  }
  std::sort(rows.begin(), rows.end(), [](const PeerRow& a, const PeerRow& b) {
    return std::tie(b.gateway, a.cluster, a.name, a.id) < std::tie(a.gateway, b.cluster, b.name, b.id);
  });
  return rows;
}

std::vector<DeviceRow> device_rows(const Node& node, const EngineCounters& counters) {
  std::vector<DeviceRow> rows;
  for (std::size_t i = 0; i < counters.devices.size(); ++i) {
    const char* side = node.one_device() ? "both" : i == node.underlay.value() ? "underlay" : "local";
    const auto steer = steer_counters(counters.devices[i].name);
    rows.push_back({side, counters.devices[i], steer ? std::optional(*steer) : std::nullopt});
  }
  return rows;
}

std::optional<std::uint32_t> ejected_seconds(const BackendView& backend) {
  if (!backend.ejected_until) {
    return std::nullopt;
  }
  const auto left = std::chrono::ceil<std::chrono::seconds>(*backend.ejected_until - shared_time());
  return static_cast<std::uint32_t>(std::max(left.count(), std::chrono::seconds::rep{0}));
}

FrontendRow frontend_row(const ServiceView& service, const ServicePortView& port, const IpAddress& vip,
                         const std::string& cluster) {
  FrontendRow row;
  row.service = service.name.text();
  row.vip = vip;
  row.protocol = port.port.protocol;
  row.port = port.port.port;
  row.port_name = port.port.name;
  row.affinity = to_text(service.affinity);
  row.ring_slots = port.ring_slots;
  if (service.client_ip_affinity) {
    row.client_seconds = service.affinity_seconds;
  }
  row.source_ranges = service.rules.source_ranges;
  row.ranges_denied = service.rules.ranges_denied;
  row.internal_local = service.rules.internal_local;
  row.external_local = service.rules.external_local;
  for (const BackendView& backend : port.backends) {
    if (cluster.empty() || backend.cluster == cluster) {
      row.backends.push_back({backend.cluster, backend.address, backend.port, to_text(backend.state), backend.slots,
                              backend.percent, ejected_seconds(backend)});
    }
  }
  return row;
}

bool names_address(const FrontendRow& row, const IpAddress& address) {
  return row.vip == address || std::any_of(row.backends.begin(), row.backends.end(),
                                           [&](const BackendRow& backend) { return backend.address == address; });
}

std::string answer_services(const AdminRequest& request, const ActiveGateway& active) {
  Listing<FrontendRow> listing;
  active.compiler().visit_services([&](const ServiceView& service) {
    if (service.name.text().find(request.service) == std::string::npos) {
      return true;
    }
    for (const IpAddress& vip : service.vips) {
      for (const ServicePortView& port : service.ports) {
        if (port.family != vip.family()) {
          continue;
        }
        FrontendRow row = frontend_row(service, port, vip, request.cluster);
        if (request.address && !names_address(row, *request.address)) {
          continue;
        }
        if (listing.rows.size() == request.limit) {
          listing.truncated = true;
          return false;
        }
        listing.rows.push_back(std::move(row));
      }
    }
    return true;
  });
  return encode_services(listing);
}

bool matches(const AdminRequest& request, const EndpointView& endpoint) {
  return (!request.address || endpoint.address == *request.address || endpoint.own_address == *request.address) &&
         (request.cluster.empty() || endpoint.cluster == request.cluster) &&
         (request.ns.empty() || endpoint.ns == request.ns) &&
         (!request.identity || endpoint.identity == *request.identity);
}

// `wanted`: "k8s:app=web", "app=web", or only the key.
bool has_label(const std::vector<std::string>& labels, const std::string& wanted) {
  const auto is = [&](std::string_view label) {
    return label == wanted || (label.size() > wanted.size() && label[wanted.size()] == '=' &&
                               label.substr(0, wanted.size()) == wanted && wanted.find('=') == std::string::npos);
  };
  return std::any_of(labels.begin(), labels.end(), [&](const std::string& label) {
    const auto colon = label.find(':');
    return is(label) || (colon != std::string::npos && is(std::string_view(label).substr(colon + 1)));
  });
}

std::string answer_endpoints(const AdminRequest& request, const ActiveGateway& active) {
  Listing<EndpointRow> listing;
  active.compiler().visit_endpoints([&](const EndpointView& endpoint) {
    if (!matches(request, endpoint)) {
      return true;
    }
    std::vector<std::string> labels = active.flow_names().labels(endpoint);
    if (!request.label.empty() && !has_label(labels, request.label)) {
      return true;
    }
    if (listing.rows.size() == request.limit) {
      listing.truncated = true;
      return false;
    }
    const std::string name = endpoint.ns.empty() ? endpoint.name : endpoint.ns + "/" + endpoint.name;
    listing.rows.push_back({endpoint.address, endpoint.own_address, endpoint.cluster, endpoint.identity, name,
                            std::move(labels), endpoint.on_node});
    return true;
  });
  std::sort(listing.rows.begin(), listing.rows.end(),
            [](const EndpointRow& a, const EndpointRow& b) { return a.address < b.address; });
  return encode_endpoints(listing);
}

// Names by id, each looked up once per listing.
class Names {
 public:
  explicit Names(const Compiler& compiler) : compiler_(compiler) {}
  [[nodiscard]] const std::string& of(ServiceId id) {
    const auto [entry, fresh] = services_.try_emplace(id);
    if (fresh && id != kNoService) {
      entry->second = compiler_.service_name(id);
    }
    return entry->second;
  }
  [[nodiscard]] const std::string& of(PeerId id) {
    const auto [entry, fresh] = peers_.try_emplace(id);
    if (fresh && id != kNoPeer) {
      entry->second = compiler_.peer_name(id);
    }
    return entry->second;
  }

 private:
  const Compiler& compiler_;
  std::map<ServiceId, std::string> services_;
  std::map<PeerId, std::string> peers_;
};

bool names_address(const FlowRecord& record, const IpAddress& address) {
  return record.client == address || record.frontend == address || record.backend == address ||
         record.translated_client == address;
}

// Of an end of a connection, what it is called on the other side of its cluster's edge.
void set_other_form(const Compiler& compiler, const IpAddress& end, std::optional<IpAddress>& alias,
                    std::optional<IpAddress>& own) {
  if (const std::optional<AddressForms> forms = compiler.forms_of(end)) {
    (end == forms->own ? alias : own) = end == forms->own ? forms->alias : forms->own;
  }
}

// The engine's flows are the loop's, the names are not.
Listing<ConnectionRow> connections_of(const AdminRequest& request, const ActiveGateway& active) {
  Listing<ConnectionRow> listing;
  Names names(active.compiler());
  const auto asked = request.address ? active.compiler().forms_of(*request.address) : std::nullopt;
  active.node().engine->visit_flows([&](const FlowRecord& record) {
    const auto has = [&](const IpAddress& address) { return names_address(record, address); };
    if (request.address && !has(*request.address) && !(asked && (has(asked->own) || has(asked->alias)))) {
      return true;
    }
    const std::string& service = names.of(record.service);
    if (!request.service.empty() && service.find(request.service) == std::string::npos) {
      return true;
    }
    if (listing.rows.size() == request.limit) {
      listing.truncated = true;
      return false;
    }
    ConnectionRow& row = listing.rows.emplace_back(
        ConnectionRow{record, service, names.of(record.forward_peer), names.of(record.reply_peer)});
    set_other_form(active.compiler(), record.client, row.client_alias, row.client_own);
    set_other_form(active.compiler(), record.backend, row.backend_alias, row.backend_own);
    return true;
  });
  return listing;
}

// What the loop knows.
StatusReply make_own_status(const GatewayParts& parts) {
  StatusReply status;
  status.name = parts.config.name;
  status.cluster = parts.config.cluster;
  status.version = ISTHMUS_VERSION;
  status.config_file = parts.config.file;
  status.pid = ::getpid();
  status.uptime_ms = milliseconds_since(parts.started);
  status.state = parts.active == nullptr ? "waiting for its own objects in the hub"
                 : parts.serving         ? "serving"
                                         : "making its first tables";
  status.problems = parts.problems.rows();
  status.hubs = parts.hubs.describe();
  status.synced = parts.hubs.synced();
  for (HubState& state : parts.hubs.states()) {
    const auto last = state.last_event;
    status.hub_parts.push_back({std::move(state), last ? std::optional(milliseconds_since(*last)) : std::nullopt});
  }
  if (parts.active != nullptr) {
    const ActiveGateway& active = *parts.active;
    status.cluster_id = active.own().cluster;
    status.tunnel_addresses = {active.own().underlay};
    status.tunnel_addresses.insert(status.tunnel_addresses.end(), active.own().more.begin(), active.own().more.end());
    status.tunnel_port = active.own().port;
    status.encapsulation = encapsulation_info(active.own().encapsulation).name;
    status.isolated = active.health().isolated();
    status.counters = active.node().engine->counters();
    status.flows = active.observer().counts();
    status.control_events_lost = active.events_lost();
    status.publishes = active.publishes();
    status.ejections = active.ejections();
    status.devices = device_rows(active.node(), status.counters);
  }
  return status;
}

// Within a turn; without what add_tables() adds.
StatusReply make_status(const GatewayParts& parts) {
  StatusReply status = make_own_status(parts);
  status.objects = parts.model.size();
  for (RestoredView& view : parts.hubs.restored()) {
    const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(view.age);
    status.restored.push_back({std::move(view.hub), std::move(view.cluster), view.objects,
                               static_cast<std::uint64_t>(age.count()), view.held});
  }
  return status;
}

void add_tables(StatusReply& status, const Compiler& compiler, const PeerStates& states, PeerScope scope) {
  status.services = compiler.service_count();
  status.frontends = compiler.frontend_count();
  status.ejected = compiler.ejected_count();
  for (const ClusterView& cluster : compiler.clusters()) {
    for (const AliasPrefix& prefix : cluster.aliases) {
      status.aliases.push_back({cluster.name, prefix.own, prefix.alias});
    }
  }
  status.peers = peer_rows(compiler, states, scope);
}

PendingAnswer at_once(std::string text) {
  return {[] {}, [text = std::move(text)] { return text; }};
}

// `make` reads model and compiler only.
template <typename Make>
PendingAnswer in_work(Make make) {
  const auto text = std::make_shared<std::string>();
  return {[text, make = std::move(make)]() mutable { *text = make(); }, [text] { return std::move(*text); }};
}

PendingAnswer begin_status(const GatewayParts& parts) {
  const ActiveGateway* active = parts.active;
  PeerStates states = active == nullptr ? PeerStates{} : peer_states(*active);
  return in_work([active, status = make_status(parts), states = std::move(states)]() mutable {
    if (active != nullptr) {
      add_tables(status, active->compiler(), states, PeerScope::kAll);
    }
    return encode_status(status);
  });
}

}  // namespace

PendingAnswer begin_answer(const AdminRequest& request, const GatewayParts& parts) {
  if (request.command == AdminCommand::kStatus) {
    return begin_status(parts);
  }
  if (!parts.serving) {  // it has started anew since it was asked
    return at_once(answer_unserved(request, parts));
  }
  const ActiveGateway& active = *parts.active;
  switch (request.command) {
    case AdminCommand::kServices:
      return in_work([&active, request] { return answer_services(request, active); });
    case AdminCommand::kEndpoints:
      return in_work([&active, request] { return answer_endpoints(request, active); });
    case AdminCommand::kConnections:
      return in_work([listing = connections_of(request, active)] { return encode_connections(listing); });
    case AdminCommand::kPolicy:
      return in_work(
          [request, sources = PolicySources{parts.config, parts.model, active.compiler(), parts.hubs.problems()}] {
            return answer_policy(request, sources);
          });
    case AdminCommand::kFlows:
    case AdminCommand::kStatus:
    case AdminCommand::kDrops:
    case AdminCommand::kDrain:
      break;
  }
  const EngineCounters counters = active.node().engine->counters();
  return at_once(encode_drops(counters, device_rows(active.node(), counters)));
}

std::string answer_unserved(const AdminRequest& request, const GatewayParts& parts) {
  if (request.command == AdminCommand::kStatus) {
    return encode_status(make_own_status(parts));
  }
  return encode_error(parts.active == nullptr
                          ? Error{"the gateway waits for its own Cluster and Gateway objects in the hub",
                                  parts.config.name, "isthmus status shows what is missing"}
                          : Error{"the gateway makes its first tables", parts.config.name,
                                  "ask again in some seconds; isthmus status shows when it serves"});
}

AdminAnswer answer_flows(const FlowQuery& query, const ActiveGateway& active) {
  auto reader = active.observer().read(query);
  if (!reader) {
    return encode_error(reader.error());
  }
  return {R"({"ok":true,"flows":{}})", std::move(*reader)};
}

PendingAnswer begin_metrics(const GatewayParts& parts) {
  struct Page {
    explicit Page(StatusReply of) : status(std::move(of)) {}
    StatusReply status;
    MetricsInput input{status, {}, 0, {}, nullptr};
  };
  const auto page = std::make_shared<Page>(make_status(parts));
  const ActiveGateway* active = parts.active;
  PeerStates states = active == nullptr ? PeerStates{} : peer_states(*active);
  std::vector<SourceProblem> problems = active == nullptr ? std::vector<SourceProblem>{} : parts.hubs.problems();
  return {[page, active, parts, states = std::move(states), problems = std::move(problems)] {
            MetricsInput& input = page->input;
            parts.model.visit<IdentityObject>(ObjectKind::kIdentity, [&](const auto&...) { ++input.identities; });
            if (active == nullptr) {
              return;
            }
            const Compiler& compiler = active->compiler();
            add_tables(page->status, compiler, states, PeerScope::kGateways);
            input.clusters = compiler.clusters();
            input.policy = policy_metrics({parts.config, parts.model, compiler, problems});
            for (const auto& [policy, rules] : compiler.policy().unapplied()) {
              input.unapplied_rules[policy_text(policy)] = rules;
            }
          },
          [page, active, servers = parts.servers] {
            MetricsInput& input = page->input;
            input.flows = active == nullptr ? nullptr : &active->observer().metrics();
            input.log_lines_lost = log_lines_lost();
            input.servers = servers;
            return metrics_page(input);
          }};
}

}  // namespace isthmus
