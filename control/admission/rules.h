// Which addresses members of the fleet may claim: one set of rules for the prefixes of pods and nodes and for VIPs,
// whichever hub tells them. What a rule refuses is used nowhere, and listed as a problem.
//
// A plain value that answers for one claim; which of several claims came first is the compiler's to know. Each answer
// is the end of a sentence that begins with the claim ("which is ..."); empty: the claim is not refused. Thread: any.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/model/admission_rules.h"
#include "dataplane/api/types.h"

namespace isthmus {

// An address that no other member may claim, or cover by a prefix: its route would take from this node what it needs.
struct ReservedAddress {
  IpAddress address;
  std::string text;                    // what it is: "an address of this node (eth0)"
  bool elsewhere = false;              // a router or a hub's server, which may be one of the member's own nodes
  std::optional<Prefix> network = {};  // not this address alone but all of this network, which the node is connected to
  friend auto operator<=>(const ReservedAddress&, const ReservedAddress&) = default;
};

class Admission {
 public:
  Admission() = default;
  // `own`: the name of our cluster, whose pods may have any unicast addresses.
  Admission(AdmissionRules rules, std::string own, std::vector<ReservedAddress> reserved);

  // What profiles and the configuration allow by name. `cluster` may claim pods in these prefixes, and no longer in
  // those of the configuration; in none if there are none.
  void allow_pods(const std::string& cluster, const std::vector<Prefix>& prefixes);
  // VIPs in these pools, beside those of the configuration.
  void allow_vips(const std::string& cluster, const std::vector<Prefix>& pools);

  // A prefix that our own cluster calls by an alias outside: what others, or VIPs, had in it, its pods could not reach.
  void keep_own(const Prefix& prefix) { own_prefixes_.push_back(prefix); }

  // One more or one fewer of the addresses given at the start; twice the same is one more of it.
  void reserve(const ReservedAddress& address);
  void release(const ReservedAddress& address);

  [[nodiscard]] std::string refuse_pods(const std::string& cluster, const Prefix& prefix) const;
  [[nodiscard]] std::string refuse_nodes(const std::string& cluster, const Prefix& prefix) const;
  // One node's address, to which no route is made.
  [[nodiscard]] std::string refuse_node(const std::string& cluster, const IpAddress& address) const;
  // The underlay address of a gateway.
  [[nodiscard]] std::string refuse_gateway(const std::string& cluster, const IpAddress& address) const;
  [[nodiscard]] std::string refuse_vip(const std::string& cluster, const IpAddress& address) const;
  // What an alias of our own cluster's pods must not overlap, as others refuse it then: VIP pools, this node's
  // addresses and networks, and addresses of nodes. "the VIP pool 10.200.0.0/24"; empty: nothing.
  [[nodiscard]] std::string under_alias(const Prefix& alias) const;
  // Whether packets to what this node needs would follow the prefix of that cluster. Of nodes' prefixes only this
  // node's own addresses count: a router or a hub's server may be one of the member's nodes.
  [[nodiscard]] std::string takes_reserved(const std::string& cluster, const Prefix& prefix, bool pods) const;
  // Whether packets to others on a network that this node is connected to would follow it.
  [[nodiscard]] std::string takes_network(const std::string& cluster, const Prefix& prefix) const;
  // The prefixes of pods that are allowed to the cluster by name; null: none are.
  [[nodiscard]] const std::vector<Prefix>* pods_of(const std::string& cluster) const;
  // The first pool of VIPs of that family that the cluster has, or that all have; of bounded pools alone.
  [[nodiscard]] std::optional<Prefix> vip_pool_of(const std::string& cluster, Family family) const;
  [[nodiscard]] std::uint32_t prefixes_per_cluster() const { return rules_.prefixes_per_cluster; }

  friend bool operator==(const Admission&, const Admission&) = default;

 private:
  using Prefixes = std::map<std::string, std::vector<Prefix>>;  // by cluster

  [[nodiscard]] std::string too_short(const Prefix& prefix) const;
  [[nodiscard]] std::string outside(const std::string& cluster, const Prefix& prefix) const;
  [[nodiscard]] std::string takes_pool(const std::string& cluster, const Prefix& prefix) const;
  [[nodiscard]] std::string takes_own(const std::string& cluster, const Prefix& prefix) const;
  [[nodiscard]] std::string pool_under(const std::vector<Prefix>& pools, const Prefix& prefix) const;

  AdmissionRules rules_;
  std::string own_;
  std::vector<ReservedAddress> reserved_;  // sorted
  std::vector<ReservedAddress> networks_;
  std::vector<Prefix> own_prefixes_;
  Prefixes pods_, vips_;
};

}  // namespace isthmus
