// The first configuration of a gateway, chosen from what a machine has: `isthmus config init`. Pure. Thread: any.
#pragma once

#include <string>
#include <vector>

#include "control/machine/config_text.h"
#include "control/machine/machine.h"

namespace isthmus {

struct HubChoice {
  std::string kind;  // one of kHubKinds
  std::string path;  // empty: the usual one
};
inline constexpr const char* kHubKinds[] = {"file", "etcd", "kubernetes", "fleet"};

// What a person says; empty: it is chosen.
struct FirstConfigChoices {
  std::string name, cluster;
  unsigned cluster_id = 0;
  std::string interface;        // the underlay's
  std::string local_interface;  // one that the machine does not have: a veth pair of that name
  std::vector<HubChoice> hubs;
  std::vector<IpAddress> translation;
};

// In the order of the reference. What a person said is taken as it is: `isthmus config check` judges it. Error: an
// interface that the machine does not have.
[[nodiscard]] Result<std::vector<ConfigLine>> first_config(const Machine& machine, const FirstConfigChoices& choices);
// The comment at its top.
[[nodiscard]] std::string first_config_header(const Machine& machine);

}  // namespace isthmus
