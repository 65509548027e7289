#include "control/policy/policy_text.h"

#include <array>

#include "control/policy/labels.h"

namespace isthmus {
namespace {

void append(std::string& text, const std::string& word, const char* between) {
  text += (text.empty() ? "" : between) + word;
}

std::string cidr_text(const PolicyCidr& cidr) {
  std::string text;
  if (cidr.prefix) {
    text = cidr.prefix->to_string();
  } else {
    text = cidr.groups ? "CIDR groups " + to_text(*cidr.groups) : "CIDR group " + cidr.group;
  }
  std::string except;
  for (const Prefix& hole : cidr.except) {
    append(except, hole.to_string(), ", ");
  }
  return except.empty() ? text : text + " except " + except;
}

std::string service_text(const PolicyService& service) {
  const std::string in = service.ns.empty() ? "" : " of namespace " + service.ns;
  return (service.labels ? "services " + to_text(*service.labels) : "service " + service.name) + in;
}

std::string entity_text(PolicyEntity entity) {
  constexpr std::array<const char*, 13> kNames{"all",         "world",          "world-ipv4", "world-ipv6", "host",
                                               "remote-node", "kube-apiserver", "ingress",    "health",     "init",
                                               "unmanaged",   "none",           "cluster"};
  return kNames[static_cast<std::size_t>(entity)];
}

}  // namespace

std::string protocol_text(std::uint8_t protocol) {
  switch (protocol) {
    case 0:
      return "any";
    case 1:
      return "icmp";
    case 6:
      return "tcp";
    case 17:
      return "udp";
    case 58:
      return "icmpv6";
    case 132:
      return "sctp";
    default:
      return std::to_string(protocol);
  }
}

std::string peers_text(const PolicyRule& rule) {
  if (rule.any_peer) {
    return "everyone";
  }
  std::string text;
  for (const LabelSelector& selector : rule.endpoints) {
    append(text, "pods " + to_text(selector), "; ");
  }
  std::string entities;
  for (const PolicyEntity entity : rule.entities) {
    append(entities, entity_text(entity), ", ");
  }
  if (!entities.empty()) {
    append(text, "entities " + entities, "; ");
  }
  for (const PolicyCidr& cidr : rule.cidrs) {
    append(text, cidr_text(cidr), "; ");
  }
  for (const PolicyService& service : rule.services) {
    append(text, service_text(service), "; ");
  }
  return text.empty() ? "nobody" : text;
}

std::string ports_text(const PolicyRule& rule) {
  if (rule.any_port) {
    return "every port";
  }
  std::string text;
  for (const PolicyPort& port : rule.ports) {
    const bool icmp = port.protocol == 1 || port.protocol == 58;
    std::string numbers = port.name;
    if (numbers.empty() && !(port.first == 0 && port.last == 65535)) {
      numbers = (icmp ? "type " : "") + std::to_string(port.first) +
                (port.last == port.first ? "" : "-" + std::to_string(port.last));
    }
    append(text, protocol_text(port.protocol) + (numbers.empty() ? "" : " " + numbers), ", ");
  }
  return text.empty() ? "no port" : text;
}

}  // namespace isthmus
