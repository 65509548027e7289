#include "control/policy/named_ports.h"

#include <absl/strings/ascii.h>

namespace isthmus {

void NamedPorts::refresh(const ObjectKey& pod, const Model& model, const LocalIdentities& local,
                         std::set<Identity>& changed) {
  Pod now;
  if (const auto object = model.find<PodObject>(pod); object && !object->named_ports.empty()) {
    const auto endpoint =
        model.find<CiliumEndpointObject>({ObjectKind::kCiliumEndpoint, pod.cluster, pod.ns, pod.name});
    if (const auto number = local.find(pod)) {
      now = {*number, object->named_ports};
    } else if (endpoint) {
      now = {endpoint->identity, object->named_ports};
    }
  } else if (const auto address = model.find<AddressObject>(pod); address && !address->named_ports.empty()) {
    now = {address->identity, address->named_ports};
  }
  const auto before = pods_.find(pod);
  if (before == pods_.end() ? now.ports.empty() : before->second == now) {
    return;
  }
  if (before != pods_.end()) {
    count(before->second, false, changed);
    pods_.erase(before);
  }
  if (!now.ports.empty()) {
    count(now, true, changed);
    pods_[pod] = std::move(now);
  }
}

void NamedPorts::count(const Pod& pod, bool add, std::set<Identity>& changed) {
  auto& names = ports_[pod.identity];
  for (const ServicePort& port : pod.ports) {
    const Name name{absl::AsciiStrToLower(port.name), static_cast<std::uint8_t>(port.protocol)};
    auto& numbers = names[name];
    std::size_t& pods = numbers[port.port.value()];
    pods = add ? pods + 1 : pods - 1;
    if (pods == (add ? 1U : 0U)) {
      changed.insert(pod.identity);
    }
    if (pods == 0) {
      numbers.erase(port.port.value());
      if (numbers.empty()) {
        names.erase(name);
      }
    }
  }
  if (names.empty()) {
    ports_.erase(pod.identity);
  }
}

std::vector<std::uint16_t> NamedPorts::numbers(const std::string& name, std::uint8_t protocol, Identity of) const {
  std::vector<std::uint16_t> found;
  const auto names = ports_.find(of);
  if (names == ports_.end()) {
    return found;
  }
  if (const auto at = names->second.find({name, protocol}); at != names->second.end()) {
    for (const auto& [number, pods] : at->second) {
      found.push_back(number);
    }
  }
  return found;
}

std::vector<Identity> NamedPorts::identities(const std::string& name, std::uint8_t protocol) const {
  std::vector<Identity> found;
  for (const auto& [identity, names] : ports_) {
    if (names.contains({name, protocol})) {
      found.push_back(identity);
    }
  }
  return found;
}

}  // namespace isthmus
