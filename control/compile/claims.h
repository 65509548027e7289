// Who owns each VIP. A claim is written by the owning cluster (a ServiceImport's address, or the Service's annotation
// isthmus.io/vip) and is a service's for the whole fleet; it never moves by itself.
//
// Of two services that claim one VIP the one with the older claim keeps it: by creation time, where both are known; a
// claim without a time is younger than any that has one. Between equals whoever holds the VIP keeps it, and at first
// the cluster's name decides, then the service's. So every gateway of the fleet comes to the same answer. Thread:
// control.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/compile/fleet.h"
#include "control/model/model.h"

namespace isthmus {

struct VipClaim {
  ServiceName service;
  std::string cluster, place;
  std::int64_t created = 0;  // seconds since 1970; 0: unknown
};

class VipClaims {
 public:
  // Collects anew what these services claim through clusters linked with ours, then decides. Returns the services,
  // perhaps others than these, whose VIPs moved.
  std::set<ServiceName> refresh(const std::set<ServiceName>& services, const Model& model, const Fleet& fleet,
                                const std::vector<IpAddress>& own_addresses);
  // Sorted.
  [[nodiscard]] std::vector<IpAddress> vips_of(const ServiceName& service) const;
  // The service that holds an address as its VIP; null when none does.
  [[nodiscard]] const ServiceName* holder(const IpAddress& address) const;
  void append_problems(std::vector<Problem>& problems) const;

 private:
  struct Vip {
    std::vector<VipClaim> claims;
    ServiceName holder;
    bool held = false;
  };
  struct Service {
    std::set<IpAddress> claimed, held;
    std::vector<Problem> problems;  // claims that were refused
  };

  void forget(const ServiceName& service, std::set<IpAddress>& touched);
  void collect(const ServiceName& service, const Model& model, const Fleet& fleet,
               const std::vector<IpAddress>& own_addresses);
  // Nothing, or why the address cannot be a VIP.
  [[nodiscard]] static std::string objection(const IpAddress& vip, const Fleet& fleet,
                                             const std::vector<IpAddress>& own_addresses);
  [[nodiscard]] const VipClaim& best(const Vip& vip) const;
  void decide(const IpAddress& address, std::set<ServiceName>& moved);

  std::map<IpAddress, Vip> vips_;
  std::map<ServiceName, Service> services_;
  std::set<IpAddress> contested_;
  std::set<ServiceName> refused_;  // services with problems
};

}  // namespace isthmus
