// Which service holds each VIP. A claim is published by the owning cluster (the address of a ServiceImport, or the
// Service's annotation isthmus.io/vip) and holds for the service in the whole fleet; it never moves by itself.
//
// Where several services claim one VIP, the oldest claim wins, by creation time, if all of them have one. Else, and
// between equal ages, who held it before a restart keeps the VIP, then the current holder; without a holder, the
// cluster name decides, then the service name. Every gateway of the fleet applies the same rule. Thread: control.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/fleet.h"
#include "control/model/model.h"

namespace isthmus {

struct VipClaim {
  ServiceName service;
  std::string cluster, where;  // where: source location of the claiming object
  std::int64_t created = 0;    // seconds since 1970; 0: unknown
};

class VipClaims {
 public:
  // Holders of before a restart: each keeps its VIP from the others from when it claims it again.
  void set_incumbents(std::map<IpAddress, ServiceName> incumbents) { incumbents_ = std::move(incumbents); }
  // Ends that for who does not claim it, once every hub has said all that it has.
  void end_incumbents(const Model::Listed& listed) {
    if (listed.all) {
      incumbents_.clear();
    }
  }
  // Collects the claims of these services again, from the clusters linked with ours, and resolves conflicts. Returns
  // every service whose VIPs changed, which may include services not in `services`.
  std::set<ServiceName> refresh(const std::set<ServiceName>& services, const Model& model, const Fleet& fleet,
                                const CompilerOptions& options);
  // The VIPs that the service holds, sorted.
  [[nodiscard]] std::vector<IpAddress> vips_of(const ServiceName& service) const;
  // The service that holds this VIP; null when none does.
  [[nodiscard]] const ServiceName* holder(const IpAddress& address) const;
  // Adds the services that claim a VIP inside the prefix, or would if it were not refused.
  void append_claimants(const Prefix& prefix, std::set<ServiceName>& services) const;
  void append_problems(const Fleet& fleet, const CompilerOptions& options, std::vector<Problem>& problems) const;

 private:
  struct Vip {
    std::vector<VipClaim> claims;
    ServiceName holder;
    bool held = false;
  };
  struct Service {
    std::set<IpAddress> claimed, held;
    std::set<IpAddress> refused;
    std::vector<Problem> problems;  // rejected claims
  };

  void remove_claims(const ServiceName& service, std::set<IpAddress>& touched);
  void add_claims(const ServiceName& service, const Model& model, const Fleet& fleet, const CompilerOptions& options);
  // Why the address cannot be a VIP, as the end of a sentence; empty when it can.
  [[nodiscard]] static std::string conflict(const std::string& cluster, const IpAddress& vip, const Fleet& fleet,
                                            const CompilerOptions& options);
  [[nodiscard]] const VipClaim& best(const IpAddress& address, const Vip& vip) const;
  void forget_incumbent(const IpAddress& address, const Vip& vip);
  void resolve(const IpAddress& address, std::set<ServiceName>& changed);

  std::map<IpAddress, ServiceName> incumbents_;  // that have not claimed their VIP since
  std::map<IpAddress, Vip> vips_;
  std::map<ServiceName, Service> services_;
  std::set<IpAddress> contested_;
  std::set<ServiceName> rejected_;                          // services with rejected claims
  std::set<std::pair<IpAddress, ServiceName>> refused_at_;  // by address
};

}  // namespace isthmus
