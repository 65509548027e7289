#include "control/daemon/hand_over_fit.h"

#include <sys/stat.h>

#include <map>
#include <sstream>
#include <string_view>

#include "control/handover/codec.h"

namespace isthmus {
namespace {

// Those without which it is another gateway, which must not be stopped.
constexpr std::string_view kIdentity[] = {"gateway.name", "gateway.cluster", "network namespace"};

// DPDK's memory and its drivers' state are one process's.
constexpr std::string_view kDpdkDevices[] = {"devices.underlay.dpdk", "devices.local.dpdk"};

void describe(std::ostringstream& text, const std::string& where, const DeviceConfig& device) {
  text << where << ".interface=" << device.interface << '\n'
       << where << ".ring_entries=" << device.ring_entries << '\n'
       << where << ".xdp=" << static_cast<int>(device.xdp) << '\n'
       << where << ".zero_copy=" << static_cast<int>(device.zero_copy) << '\n'
       << where << ".busy_poll_us=" << device.busy_poll_us << '\n'
       << where << ".busy_poll_budget=" << device.busy_poll_budget << '\n';
  if (!device.dpdk.empty()) {  // which versions without such devices do not say
    text << where << ".dpdk=" << device.dpdk << '\n';
  }
}

std::map<std::string, std::string> parsed(const std::string& text) {
  std::map<std::string, std::string> values;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto sign = line.find('=');
    values[line.substr(0, sign)] = sign == std::string::npos ? "" : line.substr(sign + 1);
  }
  return values;
}

std::string value_of(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto at = values.find(key);
  return at == values.end() ? "not said" : at->second;
}

}  // namespace

std::string hand_over_hello(const GatewayConfig& config) {
  struct stat space {};
  std::ostringstream text;
  text << "gateway.name=" << config.name << '\n'
       << "gateway.cluster=" << config.cluster << '\n'
       << "network namespace=" << (::stat("/proc/self/ns/net", &space) == 0 ? space.st_ino : 0) << '\n'
       << "hand-over version=" << kHandOverVersion << '\n'
       << "engine.workers=" << (config.cores.empty() ? config.workers : config.cores.size()) << '\n'
       << "engine.frames=" << config.frames << '\n'
       << "engine.connections=" << config.connections << '\n'
       << "state.directory=" << config.state_directory << '\n'
       << "devices.local.veth=" << config.local.veth << '\n';
  describe(text, "devices.underlay", config.underlay);
  describe(text, "devices.local", config.local.device);
  return text.str();
}

HandOverPort::Fit hand_over_fit(const std::string& ours, const std::string& theirs) {
  const auto old_values = parsed(ours), new_values = parsed(theirs);
  for (const std::string_view key : kIdentity) {
    const std::string name(key);
    if (value_of(old_values, name) != value_of(new_values, name)) {
      return {HandOverKind::kRefused,
              name + " is " + value_of(old_values, name) + " here, and " + value_of(new_values, name) + " there"};
    }
  }
  for (const auto* values : {&old_values, &new_values}) {
    for (const std::string_view key : kDpdkDevices) {
      if (const auto device = values->find(std::string(key)); device != values->end() && !device->second.empty()) {
        return {HandOverKind::kDifferent, "a DPDK device, " + device->second +
                                              ", cannot be handed over; connections outlive the restart by their file"};
      }
    }
  }
  for (const auto* values : {&old_values, &new_values}) {
    for (const auto& [key, value] : *values) {
      if (value_of(old_values, key) != value_of(new_values, key)) {
        return {HandOverKind::kDifferent,
                key + " was " + value_of(old_values, key) + ", is " + value_of(new_values, key)};
      }
    }
  }
  return {HandOverKind::kWelcome, ""};
}

}  // namespace isthmus
