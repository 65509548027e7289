#include "control/admin/replies.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "control/observe/cilium_names.h"

namespace isthmus {
namespace {

using nlohmann::json;

std::string line(const char* command, json content) {
  const json reply{{"ok", true}, {command, std::move(content)}};
  return reply.dump(-1, ' ', false, json::error_handler_t::replace);
}

// The member at a path of the list of counters.
json& member_at(json& object, std::string_view path) {
  json* at = &object;
  for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.')) {
    at = &(*at)[std::string(path.substr(0, dot))];
    path.remove_prefix(dot + 1);
  }
  return (*at)[std::string(path)];
}

template <typename Counts>
void put_counts(json& object, const Counts& counts) {
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    member_at(object, row.json) = counts.*row.value;
  }
}

// Those that tell of losses, at 0 too.
template <typename Counts>
void put_losses(json& list, const Counts& counts) {
  for (const CounterRow<Counts>& row : kCounterRows<Counts>) {
    if (row.lost()) {
      list.push_back({{"name", row.json},
                      {"count", counts.*row.value},
                      {"unit", row.unit},
                      {"text", row.text},
                      {"hint", row.hint}});
    }
  }
}

json device_json(const DeviceRow& row) {
  json device{{"name", row.status.name},
              {"side", row.side},
              {"mode", row.status.description},
              {"up", row.status.up},
              {"lost", lost_packets(row)}};
  put_counts(device, row.status.counters);
  if (row.steer) {
    put_counts(device, *row.steer);
  }
  return device;
}

json peer_json(const PeerRow& row) {
  json peer{{"id", row.id.value()},
            {"name", row.name},
            {"cluster", row.cluster},
            {"address", row.address.to_string()},
            {"port", row.port.value()},
            {"encapsulation", row.encapsulation},
            {"gateway", row.gateway},
            {"health", row.health},
            {"next_hop_resolved", row.reachable},
            {"round_trip_us", row.round_trip_us},
            {"failures", row.failures},
            {"path_mtu", row.path_mtu.value()},
            {"inner_mtu", row.inner_mtu.value()},
            {"path_mtu_source", row.path_mtu_source},
            {"path_black_hole", row.path_black_hole},
            {"last_answer_ms", nullptr}};
  if (row.last_answer_ms) {
    peer["last_answer_ms"] = *row.last_answer_ms;
  }
  return peer;
}

const char* start_text(StateStart start) {
  switch (start) {
    case StateStart::kNew:
      return "new";
    case StateStart::kAdopted:
      return "adopted";
    case StateStart::kDiscarded:
      return "discarded";
    case StateStart::kNotKept:
      break;
  }
  return "not_kept";
}

json flows_json(const StatusReply& status) {
  const ObserverCounts& c = status.flows;
  return {{"seen", c.seen},
          {"unseen", c.unseen},
          {"overtaken", c.overtaken},
          {"kept", c.kept},
          {"capacity", c.capacity},
          {"readers", c.readers},
          {"control_events_lost", status.control_events_lost}};
}

// What the list of counters does not have.
void put_sums(json& content, const StatusReply& status) {
  std::uint64_t dropped = 0, lost = 0;
  for (const DropCount& drop : status.counters.drops) {
    dropped += drop.packets;
  }
  for (const DeviceRow& row : status.devices) {
    lost += lost_packets(row);
  }
  content["packets"]["dropped"] = dropped;
  content["packets"]["lost_at_devices"] = lost;
  content["connections"]["start"] = start_text(status.counters.connections_start);
  content["connections"]["start_reason"] = status.counters.connections_start_reason;
}

const char* connection_state(const FlowRecord& record) {
  if (record.closing) {
    return "closing";
  }
  return record.established ? "established" : "half_open";
}

json connection_json(const ConnectionRow& row) {
  const FlowRecord& r = row.record;
  const auto side = [](Side s) { return s == Side::kLocal ? "local" : "fabric"; };
  json connection{{"protocol", protocol_name(r.protocol)},
                  {"client", r.client.to_string()},
                  {"client_port", r.client_port.value()},
                  {"frontend", r.frontend.to_string()},
                  {"frontend_port", r.frontend_port.value()},
                  {"backend", r.backend.to_string()},
                  {"backend_port", r.backend_port.value()},
                  {"translated_client", r.translated_client.to_string()},
                  {"translated_client_port", r.translated_client_port.value()},
                  {"service", row.service},
                  {"from", side(r.from)},
                  {"to", side(r.to)},
                  {"forward_peer", row.forward_peer},
                  {"reply_peer", row.reply_peer},
                  {"source_identity", r.source_identity.value()},
                  {"state", connection_state(r)},
                  {"forward_handed_down", r.forward_handed_down},
                  {"reply_handed_down", r.reply_handed_down},
                  {"forward_packets", r.forward_packets},
                  {"forward_bytes", r.forward_bytes},
                  {"reply_packets", r.reply_packets},
                  {"reply_bytes", r.reply_bytes},
                  {"idle_seconds", r.idle_seconds},
                  {"expires_in_seconds", r.expires_in_seconds}};
  for (const auto& [name, address] : {std::pair{"client_alias", &row.client_alias},
                                      {"client_own", &row.client_own},
                                      {"backend_alias", &row.backend_alias},
                                      {"backend_own", &row.backend_own}}) {
    if (*address) {
      connection[name] = (*address)->to_string();
    }
  }
  return connection;
}

const char* sync_text(HubState::Sync sync) {
  switch (sync) {
    case HubState::Sync::kConnecting:
      return "connecting";
    case HubState::Sync::kListing:
      return "listing";
    case HubState::Sync::kSynced:
      return "in sync";
    case HubState::Sync::kStale:
      return "stale";
    case HubState::Sync::kFailed:
      break;
  }
  return "failed";
}

json hub_part_json(const HubRow& row) {
  const HubState& state = row.state;
  json invalid = json::array();
  for (const std::string& key : state.invalid_keys) {
    invalid.push_back({{"key", key}});
  }
  json part{{"hub", state.hub},
            {"name", state.name},
            {"state", sync_text(state.sync)},
            {"server", state.server},
            {"objects", state.objects},
            {"events", state.events},
            {"refused", state.rejected},
            {"retained", state.retained},
            {"connects", state.connects},
            {"last_error", state.last_error},
            {"invalid", std::move(invalid)},
            {"last_event_ms", nullptr}};
  if (row.last_event_ms) {
    part["last_event_ms"] = *row.last_event_ms;
  }
  return part;
}

// "address" is that of the first end.
json tunnel_json(const StatusReply& status) {
  json ends = json::array();
  for (const IpAddress& address : status.tunnel_addresses) {
    ends.push_back({{"address", address.to_string()}, {"port", status.tunnel_port.value()}});
  }
  const std::string first = status.tunnel_addresses.empty() ? "" : status.tunnel_addresses.front().to_string();
  return {{"address", first},
          {"ends", std::move(ends)},
          {"port", status.tunnel_port.value()},
          {"encapsulation", status.encapsulation}};
}

json hub_json(const StatusReply& status) {
  std::string all;
  json sources = json::array(), parts = json::array();
  for (const std::string& description : status.hubs) {
    all += (all.empty() ? "" : "; ") + description;
    sources.push_back({{"description", description}});
  }
  for (const HubRow& row : status.hub_parts) {
    parts.push_back(hub_part_json(row));
  }
  json restored = json::array();
  for (const RestoredRow& row : status.restored) {
    restored.push_back({{"hub", row.hub},
                        {"cluster", row.cluster},
                        {"objects", row.objects},
                        {"age_ms", row.age_ms},
                        {"held", row.held}});
  }
  return {{"source", all},
          {"restored", std::move(restored)},
          {"sources", std::move(sources)},
          {"parts", std::move(parts)},
          {"synced", status.synced},
          {"objects", status.objects}};
}

json texts_of_prefixes(const std::vector<Prefix>& prefixes) {
  json texts = json::array();
  for (const Prefix& prefix : prefixes) {
    texts.push_back(prefix.to_string());
  }
  return texts;
}

}  // namespace

std::string protocol_name(IpProtocol protocol) {
  switch (protocol) {
    case IpProtocol::kTcp:
      return "tcp";
    case IpProtocol::kUdp:
      return "udp";
    case IpProtocol::kIcmp:
      return "icmp";
    case IpProtocol::kIcmpv6:
      return "icmpv6";
    case IpProtocol::kSctp:
      return "sctp";
    case IpProtocol::kGre:
      return "gre";
    case IpProtocol::kEsp:
      return "esp";
    case IpProtocol::kAuthentication:
      return "ah";
    default:
      break;
  }
  return std::to_string(static_cast<unsigned>(protocol));
}

std::uint64_t lost_packets(const DeviceRow& device) {
  std::uint64_t lost = 0;
  const auto add = [&](const auto& counts, const auto& rows) {
    for (const auto& row : rows) {
      lost += row.kind == CounterKind::kLoss ? counts.*row.value : 0;
    }
  };
  add(device.status.counters, kCounterRows<QueueCounters>);
  if (device.steer) {
    add(*device.steer, kCounterRows<SteerCounters>);
  }
  return lost;
}

std::string encode_status(const StatusReply& status) {
  json aliases = json::array(), peers = json::array(), devices = json::array(), problems = json::array();
  for (const AliasRow& row : status.aliases) {
    aliases.push_back({{"cluster", row.cluster}, {"own", row.own.to_string()}, {"alias", row.alias.to_string()}});
  }
  for (const PeerRow& row : status.peers) {
    peers.push_back(peer_json(row));
  }
  for (const DeviceRow& row : status.devices) {
    devices.push_back(device_json(row));
  }
  for (const ProblemRow& row : status.problems) {
    problems.push_back({{"where", row.where}, {"what", row.what}, {"fix", row.fix}, {"since_ms", row.since_ms}});
  }
  json content{{"name", status.name},
               {"cluster", status.cluster},
               {"cluster_id", status.cluster_id.value()},
               {"version", status.version},
               {"config_file", status.config_file},
               {"pid", status.pid},
               {"uptime_ms", status.uptime_ms},
               {"state", status.state},
               {"isolated", status.isolated},
               {"hub", hub_json(status)},
               {"tunnel", tunnel_json(status)},
               {"services", status.services},
               {"frontends", status.frontends},
               {"outliers", {{"ejected", status.ejected}, {"ejections", status.ejections}}},
               {"flows", flows_json(status)},
               {"aliases", std::move(aliases)},
               {"peers", std::move(peers)},
               {"devices", std::move(devices)},
               {"problems", std::move(problems)}};
  put_counts<WorkerCounts>(content, status.counters);
  put_counts<TableCounts>(content, status.counters);
  put_counts(content, status.counters.connections);
  put_sums(content, status);
  return line("status", std::move(content));
}

std::string encode_services(const Listing<FrontendRow>& services) {
  json rows = json::array();
  for (const FrontendRow& row : services.rows) {
    json backends = json::array();
    for (const BackendRow& backend : row.backends) {
      backends.push_back({{"cluster", backend.cluster},
                          {"address", backend.address.to_string()},
                          {"port", backend.port.value()},
                          {"state", backend.state},
                          {"slots", backend.slots},
                          {"weight_percent", backend.percent}});
      if (backend.ejected_seconds) {
        backends.back()["ejected_seconds"] = *backend.ejected_seconds;
      }
    }
    rows.push_back({{"service", row.service},
                    {"vip", row.vip.to_string()},
                    {"protocol", protocol_name(row.protocol)},
                    {"port", row.port.value()},
                    {"port_name", row.port_name},
                    {"affinity", row.affinity},
                    {"session_affinity", row.client_seconds ? "ClientIP" : "None"},
                    {"session_affinity_seconds", row.client_seconds.value_or(0)},
                    {"source_ranges", texts_of_prefixes(row.source_ranges)},
                    {"source_ranges_policy", row.ranges_denied ? "deny" : "allow"},
                    {"internal_traffic_policy", row.internal_local ? "Local" : "Cluster"},
                    {"external_traffic_policy", row.external_local ? "Local" : "Cluster"},
                    {"ring_slots", row.ring_slots},
                    {"backends", std::move(backends)}});
  }
  return line("services", {{"frontends", std::move(rows)}, {"truncated", services.truncated}});
}

std::string encode_endpoints(const Listing<EndpointRow>& endpoints) {
  json rows = json::array();
  for (const EndpointRow& row : endpoints.rows) {
    rows.push_back({{"address", row.address.to_string()},
                    {"own_address", row.own_address.to_string()},
                    {"cluster", row.cluster},
                    {"identity", row.identity.value()},
                    {"name", row.name},
                    {"labels", row.labels},
                    {"node", row.node}});
  }
  return line("endpoints", {{"endpoints", std::move(rows)}, {"truncated", endpoints.truncated}});
}

std::string encode_connections(const Listing<ConnectionRow>& connections) {
  json rows = json::array();
  for (const ConnectionRow& row : connections.rows) {
    rows.push_back(connection_json(row));
  }
  return line("connections", {{"connections", std::move(rows)}, {"truncated", connections.truncated}});
}

std::string encode_drops(const EngineCounters& counters, const std::vector<DeviceRow>& devices) {
  json rows = json::array(), device_rows = json::array(), tables = json::array();
  for (const DropCount& drop : counters.drops) {
    const CiliumDrop* cilium = find_cilium_drop(drop.cilium_code);
    rows.push_back({{"name", drop.name},
                    {"packets", drop.packets},
                    {"text", drop.text},
                    {"hint", drop.hint},
                    {"cilium_code", drop.cilium_code},
                    {"cilium_name", cilium == nullptr ? std::string_view() : cilium->name}});
  }
  for (const DeviceRow& row : devices) {
    json losses = json::array();
    put_losses(losses, row.status.counters);
    if (row.steer) {
      put_losses(losses, *row.steer);
    }
    device_rows.push_back({{"name", row.status.name}, {"side", row.side}, {"losses", std::move(losses)}});
  }
  put_losses<WorkerCounts>(tables, counters);
  put_losses(tables, counters.connections);
  put_losses<TableCounts>(tables, counters);
  return line("drops",
              {{"reasons", std::move(rows)}, {"devices", std::move(device_rows)}, {"tables", std::move(tables)}});
}

std::string encode_drain(const DrainReply& drain) {
  json said{{"draining", drain.draining}};
  if (drain.others) {
    said["others"] = *drain.others;
    said["staying"] = drain.staying;
    said["elsewhere"] = drain.elsewhere;
  }
  return json{{"ok", true}, {"drain", std::move(said)}}.dump();
}

std::string encode_error(const Error& error) {
  const json reply{{"ok", false}, {"error", {{"what", error.what}, {"where", error.where}, {"fix", error.fix}}}};
  return reply.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace isthmus
