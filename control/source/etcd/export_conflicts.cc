#include "control/source/etcd/export_conflicts.h"

#include <algorithm>

namespace isthmus {
namespace {

using Entry = std::pair<const std::string, ServiceExportValue>;

struct TakenPort {
  ServicePort port;
  std::string application, cluster;
};

std::string port_text(const ServicePort& port) {
  return std::to_string(port.port.value()) + (port.protocol == IpProtocol::kUdp ? "/UDP" : "/TCP");
}

// Adds the export's ports to `taken`. Returns the first conflict of a port with an older export; empty: none.
std::string add_ports(const Entry& entry, std::vector<TakenPort>& taken) {
  std::string conflict;
  const auto& ports = entry.second.object.ports;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const ServicePort& port = ports[i];
    const std::string& application = entry.second.app_protocols[i];
    const auto same = std::find_if(taken.begin(), taken.end(), [&](const TakenPort& t) {
      return t.port.port == port.port && t.port.protocol == port.protocol;
    });
    const auto named =
        std::find_if(taken.begin(), taken.end(), [&](const TakenPort& t) { return t.port.name == port.name; });
    if (same != taken.end()) {
      if ((same->port.name != port.name || same->application != application) && conflict.empty()) {
        conflict = "port " + port_text(port) + " is named " + port.name + ", but " + same->port.name + " in cluster " +
                   same->cluster;
      }
    } else if (named != taken.end()) {
      if (conflict.empty()) {
        conflict = "port name " + port.name + " means " + port_text(port) + ", but " + port_text(named->port) +
                   " in cluster " + named->cluster + "; " + port_text(port) + " is ignored";
      }
    } else {
      taken.push_back({port, application, entry.first});
    }
  }
  return conflict;
}

std::string other_conflict(const ServiceExportValue& oldest, const ServiceExportValue& one) {
  return one.headless != oldest.headless                                     ? "type"
         : one.object.client_ip_affinity != oldest.object.client_ip_affinity ? "sessionAffinity"
         : one.affinity_seconds != oldest.affinity_seconds                   ? "sessionAffinityConfig"
         : one.object.labels != oldest.object.labels                         ? "labels"
         : one.annotations != oldest.annotations                             ? "annotations"
         : one.internal_traffic_policy != oldest.internal_traffic_policy     ? "internalTrafficPolicy"
         : one.traffic_distribution != oldest.traffic_distribution           ? "trafficDistribution"
         : one.ip_families != oldest.ip_families                             ? "ipFamilies"
                                                                             : "";
}

SourceProblem problem_of(const std::string& cluster, const std::string& service, const std::string& conflict) {
  return {{"cluster " + cluster + ": serviceexports/" + service, 0},
          "the exports of service " + service + " conflict: " + conflict,
          "export the Service with the same settings in all clusters"};
}

}  // namespace

std::vector<SourceProblem> export_conflicts(const std::string& service,
                                            const std::map<std::string, ServiceExportValue>& exports) {
  std::vector<const Entry*> by_age;
  by_age.reserve(exports.size());
  for (const Entry& entry : exports) {
    by_age.push_back(&entry);
  }
  std::stable_sort(by_age.begin(), by_age.end(),
                   [](const Entry* a, const Entry* b) { return a->second.object.created < b->second.object.created; });
  std::vector<SourceProblem> problems;
  std::vector<TakenPort> taken;
  for (const Entry* entry : by_age) {
    std::string conflict = add_ports(*entry, taken);
    const Entry& oldest = *by_age.front();
    if (const std::string field = other_conflict(oldest.second, entry->second); conflict.empty() && !field.empty()) {
      conflict = field + " differs from cluster " + oldest.first + ", whose export is older and takes precedence";
    }
    if (!conflict.empty()) {
      problems.push_back(problem_of(entry->first, service, conflict));
    }
  }
  return problems;
}

}  // namespace isthmus
