#include "control/observe/flow_json.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/observe/cilium_names.h"

namespace isthmus {
namespace {

using nlohmann::json;

// Hubble's event types and observation points (facts of its protocol).
constexpr int kEventDrop = 1, kEventTrace = 4, kEventPolicyVerdict = 5;
constexpr int kToOverlay = 4, kToEndpoint = 0;  // sub types of a trace

json party_json(const FlowParty& party) {
  json object = json::object();
  const EndpointNames& names = *party.names;
  if (party.identity != identity::kUnknown) {
    object["identity"] = party.identity.value();
  }
  for (const auto& [key, text] : {std::pair("namespace", &names.ns), std::pair("pod_name", &names.pod),
                                  std::pair("cluster_name", &names.cluster)}) {
    if (!text->empty()) {
      object[key] = *text;
    }
  }
  if (!names.labels.empty()) {
    object["labels"] = names.labels;
  }
  return object;
}

json tcp_flags(std::uint8_t flags) {
  json object = json::object();
  unsigned bit = 0;
  for (const char* name : {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}) {
    if ((flags >> bit++ & 1) != 0) {
      object[name] = true;
    }
  }
  return object;
}

json l4_json(const Flow& flow) {
  const FlowEvent& e = flow.event;
  json ports = json::object();
  if (flow.source.port.value() != 0) {
    ports["source_port"] = flow.source.port.value();
  }
  if (flow.destination.port.value() != 0) {
    ports["destination_port"] = flow.destination.port.value();
  }
  json icmp = json::object();
  if (e.icmp_type != 0) {
    icmp["type"] = e.icmp_type;
  }
  if (e.icmp_code != 0) {
    icmp["code"] = e.icmp_code;
  }
  switch (e.protocol) {
    case IpProtocol::kTcp:
      if (json flags = tcp_flags(e.tcp_flags); !flags.empty()) {
        ports["flags"] = std::move(flags);
      }
      return {{"TCP", std::move(ports)}};
    case IpProtocol::kUdp:
      return {{"UDP", std::move(ports)}};
    case IpProtocol::kSctp:
      return {{"SCTP", std::move(ports)}};
    case IpProtocol::kIcmp:
      return {{"ICMPv4", std::move(icmp)}};
    case IpProtocol::kIcmpv6:
      return {{"ICMPv6", std::move(icmp)}};
    default:
      break;
  }
  return {};
}

std::string icmp_summary(const FlowEvent& e) {
  return (e.protocol == IpProtocol::kIcmp ? "ICMPv4 " : "ICMPv6 ") + icmp_type_name(e.protocol, e.icmp_type);
}

std::string summary(const FlowEvent& e) {
  switch (e.protocol) {
    case IpProtocol::kTcp: {
      std::string flags;
      // In the order in which Hubble prints them.
      for (const auto& [name, bit] :
           {std::pair("SYN", 1), {"ACK", 4}, {"RST", 2}, {"FIN", 0}, {"PSH", 3}, {"URG", 5}, {"ECE", 6}, {"CWR", 7}}) {
        if ((e.tcp_flags >> bit & 1) != 0) {
          flags += (flags.empty() ? "" : ", ") + std::string(name);
        }
      }
      return "TCP Flags: " + flags;
    }
    case IpProtocol::kUdp:
      return "UDP";
    case IpProtocol::kSctp:
      return "SCTP";
    case IpProtocol::kIcmp:
    case IpProtocol::kIcmpv6:
      return icmp_summary(e);
    default:
      break;
  }
  return e.received.source.is_unspecified() ? "" : "IP protocol " + std::to_string(static_cast<unsigned>(e.protocol));
}

json service_json(const std::string& service) {
  const auto slash = service.find('/');
  return {{"namespace", service.substr(0, slash)}, {"name", service.substr(slash + 1)}};
}

void add_addresses(const Flow& flow, json& object) {
  const FlowEvent& e = flow.event;
  if (flow.source.address.is_unspecified() && flow.destination.address.is_unspecified()) {
    return;
  }
  object["IP"] = {{"source", flow.source.address.to_string()},
                  {"destination", flow.destination.address.to_string()},
                  {"ipVersion", flow.destination.address.is_ipv4() ? "IPv4" : "IPv6"}};
  if (e.translated.source != e.received.source) {
    object["IP"]["source_xlated"] = e.translated.source.to_string();
  }
  if (json l4 = l4_json(flow); !l4.is_null()) {
    object["l4"] = std::move(l4);
  }
  object["source"] = party_json(flow.source);
  object["destination"] = party_json(flow.destination);
}

// What Hubble has no field for.
json& own_fields(json& object) {
  if (!object.contains("extensions")) {
    object["extensions"] = {{"@type", "type.googleapis.com/google.protobuf.Struct"}, {"value", json::object()}};
  }
  return object["extensions"]["value"];
}

void add_aliases(const Flow& flow, json& object) {
  for (const auto& [end, party] : {std::pair("source", &flow.source), std::pair("destination", &flow.destination)}) {
    if (party->forms) {
      own_fields(object)[end] = {{"own", party->forms->own.to_string()}, {"alias", party->forms->alias.to_string()}};
    }
  }
}

void add_drop(const Flow& flow, json& object) {
  object["event_type"] = {{"type", kEventDrop}};
  const unsigned code = flow.drop == nullptr ? 0 : flow.drop->cilium_code;
  if (const CiliumDrop* cilium = find_cilium_drop(code); cilium != nullptr) {
    object["drop_reason"] = code;
    object["drop_reason_desc"] = cilium->name;
    object["event_type"]["sub_type"] = code;
  }
  if (flow.drop != nullptr) {
    own_fields(object).update({{"drop_reason", flow.drop->name}, {"drop_text", flow.drop->text}});
  }
}

void add_trace(const FlowEvent& e, json& object) {
  const bool out = e.to == Side::kFabric;
  object["event_type"] = {{"type", kEventTrace}};
  if (const int sub_type = out ? kToOverlay : kToEndpoint; sub_type != 0) {
    object["event_type"]["sub_type"] = sub_type;
  }
  object["trace_observation_point"] = out ? "TO_OVERLAY" : "TO_ENDPOINT";
  object["is_reply"] = e.trace == TraceReason::kReply;
  object["trace_reason"] = e.trace == TraceReason::kReply ? "REPLY"
                           : e.trace == TraceReason::kNew ? "NEW"
                                                          : "ESTABLISHED";
}

void add_policy(const char* direction, const PolicyVerdict& verdict, const std::shared_ptr<const PolicyName>& policy,
                json& object) {
  if (policy == nullptr) {
    return;
  }
  const bool allowed = verdict.outcome == PolicyOutcome::kAllowed;
  json name{{"name", policy->name}, {"kind", policy->kind}};
  if (!policy->ns.empty()) {
    name["namespace"] = policy->ns;
  }
  object[std::string(direction) + (allowed ? "_allowed_by" : "_denied_by")] = json::array({std::move(name)});
}

// What the deciding rule matched on, by Cilium's numbers: 0 none (no rule), 1 L3, 2 L3 and L4, 3 L4, 4 all, 5 L3 and
// protocol, 6 protocol.
unsigned match_type(const FlowEvent& e, const PolicyVerdict& verdict, const PolicyName* policy) {
  constexpr unsigned kNone = 0, kL3 = 1, kL3L4 = 2, kL4 = 3, kAll = 4, kL3Protocol = 5, kProtocol = 6;
  if (policy == nullptr) {
    return verdict.outcome == PolicyOutcome::kAllowed ? kAll : kNone;
  }
  const bool icmp = e.protocol == IpProtocol::kIcmp || e.protocol == IpProtocol::kIcmpv6;
  const unsigned port = icmp ? e.icmp_type : e.translated.destination_port.value();
  bool protocol = !policy->any_port, number = protocol;
  for (const PolicyPort& each : policy->ports) {
    const bool fits = each.name.empty() && each.first <= port && port <= each.last &&
                      (each.protocol == 0 || each.protocol == static_cast<std::uint8_t>(e.protocol));
    if (fits && each.first == 0 && each.last == 65535) {
      number = false;
      protocol = each.protocol != 0;
    }
  }
  if (number) {
    return policy->any_peer ? kL4 : kL3L4;
  }
  if (protocol) {
    return policy->any_peer ? kProtocol : kL3Protocol;
  }
  return policy->any_peer ? kAll : kL3;
}

// A policy verdict event, for the first direction in which audit let the packet pass.
void add_policy_verdict(const Flow& flow, json& object) {
  const FlowEvent& e = flow.event;
  const bool egress = e.egress.outcome == PolicyOutcome::kAudited;
  object["event_type"] = {{"type", kEventPolicyVerdict}};
  object["is_reply"] = false;
  object["traffic_direction"] = egress ? "EGRESS" : "INGRESS";
  const unsigned match =
      egress ? match_type(e, e.egress, flow.egress_policy.get()) : match_type(e, e.ingress, flow.ingress_policy.get());
  if (match != 0) {
    object["policy_match_type"] = match;
  }
}

json flow_json(const Flow& flow, std::string_view node) {
  const FlowEvent& e = flow.event;
  json object{
      {"time", time_text(flow.time_ns)}, {"verdict", verdict_name(e.verdict)}, {"Type", "L3_L4"}, {"node_name", node}};
  add_addresses(flow, object);
  add_aliases(flow, object);
  switch (kind_of(flow)) {
    case FlowKind::kDrop:
      add_drop(flow, object);
      break;
    case FlowKind::kTrace:
      add_trace(e, object);
      break;
    case FlowKind::kPolicyVerdict:
      add_policy_verdict(flow, object);
      break;
  }
  if (e.direction != TrafficDirection::kUnknown && !object.contains("traffic_direction")) {
    object["traffic_direction"] = e.direction == TrafficDirection::kEgress ? "EGRESS" : "INGRESS";
  }
  if (!flow.service.empty()) {
    const bool reply = e.trace == TraceReason::kReply;
    object[reply ? "source_service" : "destination_service"] = service_json(flow.service);
  }
  if (!flow.peer.is_unspecified()) {
    const bool geneve = flow.encapsulation == EncapsulationKind::kGeneve;
    json tunnel{{"protocol", geneve ? "GENEVE" : "VXLAN"}};  // Hubble knows these two
    if (e.vni.value() != 0) {
      tunnel["vni"] = e.vni.value();
    }
    tunnel["IP"] = {{e.from == Side::kFabric ? "source" : "destination", flow.peer.to_string()},
                    {"ipVersion", flow.peer.is_ipv4() ? "IPv4" : "IPv6"}};
    object["tunnel"] = std::move(tunnel);
  }
  add_policy("egress", e.egress, flow.egress_policy, object);
  add_policy("ingress", e.ingress, flow.ingress_policy, object);
  if (const std::string text = summary(e); !text.empty()) {
    object["Summary"] = text;
  }
  return object;
}

json lost_json(const LostFlows& lost) {
  return {{"source", lost.where == LostFlows::Where::kRing ? "HUBBLE_RING_BUFFER" : "OBSERVER_EVENTS_QUEUE"},
          {"num_events_lost", std::to_string(lost.count)}};
}

}  // namespace

const char* verdict_name(FlowVerdict verdict) {
  switch (verdict) {
    case FlowVerdict::kForwarded:
      return "FORWARDED";
    case FlowVerdict::kDropped:
      return "DROPPED";
    case FlowVerdict::kAudited:
      break;
  }
  return "AUDIT";
}

FlowKind kind_of(const Flow& flow) {
  switch (flow.event.verdict) {
    case FlowVerdict::kForwarded:
      return FlowKind::kTrace;
    case FlowVerdict::kDropped:
      return FlowKind::kDrop;
    case FlowVerdict::kAudited:
      break;
  }
  return FlowKind::kPolicyVerdict;
}

std::string icmp_type_name(IpProtocol protocol, std::uint8_t type) {
  struct Name {
    IpProtocol protocol;
    std::uint8_t type;
    const char* text;
  };
  static constexpr auto kNames = std::to_array<Name>({{IpProtocol::kIcmp, 0, "EchoReply"},
                                                      {IpProtocol::kIcmp, 3, "DestinationUnreachable"},
                                                      {IpProtocol::kIcmp, 8, "EchoRequest"},
                                                      {IpProtocol::kIcmp, 11, "TimeExceeded"},
                                                      {IpProtocol::kIcmpv6, 1, "DestinationUnreachable"},
                                                      {IpProtocol::kIcmpv6, 2, "PacketTooBig"},
                                                      {IpProtocol::kIcmpv6, 3, "TimeExceeded"},
                                                      {IpProtocol::kIcmpv6, 128, "EchoRequest"},
                                                      {IpProtocol::kIcmpv6, 129, "EchoReply"}});
  for (const Name& name : kNames) {
    if (name.protocol == protocol && name.type == type) {
      return name.text;
    }
  }
  return "type " + std::to_string(type);
}

std::string time_text(std::int64_t unix_ns) {
  const auto seconds = static_cast<std::time_t>(unix_ns / 1'000'000'000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char date[32], text[64];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof text, "%s.%09lldZ", date, static_cast<long long>(unix_ns % 1'000'000'000));
  return text;
}

std::string encode_flow(const FlowEntry& entry, std::string_view node) {
  json line{{"node_name", node}};
  if (const auto* flow = std::get_if<Flow>(&entry)) {
    line["flow"] = flow_json(*flow, node);
    line["time"] = time_text(flow->time_ns);
  } else {
    const auto& lost = std::get<LostFlows>(entry);
    line["lost_events"] = lost_json(lost);
    line["time"] = time_text(lost.time_ns);
  }
  return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace isthmus
