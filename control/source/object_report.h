// What a gateway makes of a hub's objects, for hubs that can be told: our own kinds get a status, policies an Event.
// Plain values; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/model/objects.h"

namespace isthmus {

// One that can be reported about, as the hub has it.
struct ReportableObject {
  ObjectKey key;
  std::int64_t generation = 0;  // metadata.generation: counts the changes of its spec
  friend bool operator==(const ReportableObject&, const ReportableObject&) = default;
};
using ReportableObjects = std::map<std::string, ReportableObject>;  // by location, as in Provenance

struct ObjectReport {
  std::string location;
  std::int64_t generation = 0;  // that the gateway has seen
  bool accepted = true;
  std::string reason, message;  // one word; what is wrong and what to do
  friend bool operator==(const ObjectReport&, const ObjectReport&) = default;
};

// Of one gateway. Of objects that it does not name, nothing is known yet, and nothing is said.
struct GatewayReport {
  std::string gateway;             // its name
  std::set<std::string> gateways;  // of its cluster, itself among them
  std::vector<ObjectReport> objects;
  std::string own;  // the location of its own Gateway object; empty: the hub has none
  bool ready = false;
  std::string ready_reason, ready_message;
  std::string version;
  std::size_t workers = 0, problems = 0;
  friend bool operator==(const GatewayReport&, const GatewayReport&) = default;
};

}  // namespace isthmus
