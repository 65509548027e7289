// Reads the facts that the checks judge: from the kernel, /proc, /sys, the file system, the hubs and, where a gateway
// runs, its admin socket. Changes nothing; needs no rights, what is not seen is said. Thread: any, in the network
// namespace of the gateway. Bounded: hubs and admin socket by their deadlines, netlink by 5 s a request.
#pragma once

#include <string>

#include "control/doctor/facts.h"

namespace isthmus {

struct GatherOptions {
  std::string file;  // the configuration; empty: none
  std::string name;  // in the place of gateway.name; empty: as the file says
};
struct GatheredFacts {
  Facts facts;
  bool unfinished = false;  // see HubProbes
};
[[nodiscard]] GatheredFacts gather_facts(const GatherOptions& options);

// The parts, by file: system_facts.cc, network_facts.cc, dpdk_facts.cc, gateway_facts.cc.
void read_system_facts(Facts& facts);
void read_network_facts(Facts& facts);
void read_dpdk_facts(Facts& facts);
void read_gateway_facts(Facts& facts);

}  // namespace isthmus
