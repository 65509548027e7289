#include "control/compile/claims.h"

#include <algorithm>
#include <tuple>

#include "control/compile/listing.h"
#include "control/compile/remedies.h"

namespace isthmus {
namespace {

std::string claim_text(const VipClaim& claim) {
  return "service " + claim.service.text() + " of cluster " + claim.cluster + " (" + claim.where + ")";
}

}  // namespace

std::string VipClaims::conflict(const std::string& cluster, const IpAddress& vip, const Fleet& fleet,
                                const CompilerOptions& options) {
  if (const FleetCluster* owner = fleet.owner(vip)) {
    return "which lies inside the prefixes of cluster " + owner->name;
  }
  if (const auto gateway = fleet.gateway_at(vip)) {
    return "which is the underlay address of " + *gateway;
  }
  if (std::find(options.own_addresses.begin(), options.own_addresses.end(), vip) != options.own_addresses.end()) {
    return "which is a translation address of this gateway";
  }
  return fleet.admission.refuse_vip(cluster, vip);
}

void VipClaims::add_claims(const ServiceName& service, const Model& model, const Fleet& fleet,
                           const CompilerOptions& options) {
  Service& state = services_[service];
  const auto add = [&](const FleetCluster& cluster, const std::vector<IpAddress>& addresses, std::int64_t created,
                       const std::string& where) {
    for (const IpAddress& address : addresses) {
      const VipClaim claim{service, cluster.name, where, created};
      if (const std::string why = conflict(cluster.name, address, fleet, options); !why.empty()) {
        state.problems.push_back(
            {claim_text(claim) + " claims VIP " + address.to_string() + ", " + why + ": the claim is rejected", where,
             "remove this claim, and claim an address that nothing else uses, in a pool of admission.vip_pools or of "
             "the profile's vipPools: " +
                 vip_command(options, fleet, cluster.name, service, address.family())});
        state.refused.insert(address);
        refused_at_.emplace(address, service);
        continue;
      }
      vips_[address].claims.push_back(claim);
      state.claimed.insert(address);
    }
  };
  for (const std::string& name : model.clusters_of(service)) {
    const FleetCluster* cluster = fleet.find(name);
    if (cluster == nullptr || !cluster->linked) {
      continue;
    }
    if (const auto import =
            model.find<ServiceImportObject>({ObjectKind::kServiceImport, name, service.ns, service.name})) {
      add(*cluster, import->ips, import->created, import.provenance.text());
    }
    if (const auto object = model.find<ServiceObject>({ObjectKind::kService, name, service.ns, service.name})) {
      add(*cluster, object->claimed_vips, object->created, object.provenance.text());
    }
  }
}

void VipClaims::remove_claims(const ServiceName& service, std::set<IpAddress>& touched) {
  rejected_.erase(service);
  const auto state = services_.find(service);
  if (state == services_.end()) {
    return;
  }
  for (const IpAddress& address : state->second.claimed) {
    auto& claims = vips_[address].claims;
    claims.erase(std::remove_if(claims.begin(), claims.end(), [&](const VipClaim& c) { return c.service == service; }),
                 claims.end());
    touched.insert(address);
  }
  for (const IpAddress& address : state->second.refused) {
    refused_at_.erase({address, service});
  }
  state->second.claimed.clear();
  state->second.refused.clear();
  state->second.problems.clear();
}

std::set<ServiceName> VipClaims::refresh(const std::set<ServiceName>& services, const Model& model, const Fleet& fleet,
                                         const CompilerOptions& options) {
  std::set<IpAddress> touched;
  for (const ServiceName& service : services) {
    remove_claims(service, touched);
    add_claims(service, model, fleet, options);
    const Service& state = services_[service];
    touched.insert(state.claimed.begin(), state.claimed.end());
    if (!state.problems.empty()) {
      rejected_.insert(service);
    }
  }
  std::set<ServiceName> changed;
  for (const IpAddress& address : touched) {
    resolve(address, changed);
  }
  for (const ServiceName& service : services) {
    const Service& state = services_[service];
    if (state.claimed.empty() && state.held.empty() && state.problems.empty()) {
      services_.erase(service);
    }
  }
  return changed;
}

const VipClaim& VipClaims::best(const IpAddress& address, const Vip& vip) const {
  // What comes by etcd has no time: a gateway that sees the same claim with one must not decide otherwise.
  const bool timed =
      std::all_of(vip.claims.begin(), vip.claims.end(), [](const VipClaim& claim) { return claim.created != 0; });
  const auto before = incumbents_.find(address);
  const auto order = [&](const VipClaim& c) {
    const bool held = before != incumbents_.end() && before->second == c.service;
    const bool holds = vip.held && vip.holder == c.service;
    return std::tuple(timed ? c.created : 0, !held, !holds, c.cluster, c.service);
  };
  return *std::min_element(vip.claims.begin(), vip.claims.end(),
                           [&](const VipClaim& a, const VipClaim& b) { return order(a) < order(b); });
}

// Once it has claimed its VIP again, the rules for holders are enough.
void VipClaims::forget_incumbent(const IpAddress& address, const Vip& vip) {
  const auto before = incumbents_.find(address);
  if (before != incumbents_.end() && std::any_of(vip.claims.begin(), vip.claims.end(), [&](const VipClaim& claim) {
        return claim.service == before->second;
      })) {
    incumbents_.erase(before);
  }
}

void VipClaims::resolve(const IpAddress& address, std::set<ServiceName>& changed) {
  const auto it = vips_.find(address);
  Vip& vip = it->second;
  const bool held = !vip.claims.empty();
  const ServiceName holder = held ? best(address, vip).service : ServiceName{};
  if (vip.held && (!held || vip.holder != holder)) {
    services_[vip.holder].held.erase(address);
    changed.insert(vip.holder);
  }
  if (held && (!vip.held || vip.holder != holder)) {
    services_[holder].held.insert(address);
    changed.insert(holder);
  }
  if (!held) {
    contested_.erase(address);
    vips_.erase(it);
    return;
  }
  vip.held = true;
  vip.holder = holder;
  forget_incumbent(address, vip);
  const bool contested =
      std::any_of(vip.claims.begin(), vip.claims.end(), [&](const VipClaim& c) { return c.service != vip.holder; });
  if (contested) {
    contested_.insert(address);
  } else {
    contested_.erase(address);
  }
}

std::vector<IpAddress> VipClaims::vips_of(const ServiceName& service) const {
  const auto it = services_.find(service);
  return it == services_.end() ? std::vector<IpAddress>{}
                               : std::vector<IpAddress>(it->second.held.begin(), it->second.held.end());
}

const ServiceName* VipClaims::holder(const IpAddress& address) const {
  const auto it = vips_.find(address);
  return it == vips_.end() ? nullptr : &it->second.holder;
}

void VipClaims::append_claimants(const Prefix& prefix, std::set<ServiceName>& services) const {
  for (auto at = vips_.lower_bound(prefix.address()); at != vips_.end() && prefix.contains(at->first); ++at) {
    for (const VipClaim& claim : at->second.claims) {
      services.insert(claim.service);
    }
  }
  for (auto at = refused_at_.lower_bound({prefix.address(), {}}); at != refused_at_.end() && prefix.contains(at->first);
       ++at) {
    services.insert(at->second);
  }
}

void VipClaims::append_problems(const Fleet& fleet, const CompilerOptions& options,
                                std::vector<Problem>& problems) const {
  list_problems(rejected_, "services with rejected VIP claims", problems, [&](const ServiceName& name, auto& list) {
    const Service& service = services_.at(name);
    list.insert(list.end(), service.problems.begin(), service.problems.end());
  });
  list_problems(contested_, "VIPs claimed by several services", problems, [&](const IpAddress& address, auto& list) {
    const Vip& vip = vips_.at(address);
    const VipClaim& owner = best(address, vip);
    for (const VipClaim& claim : vip.claims) {
      if (claim.service != vip.holder) {
        list.push_back(
            {claim_text(claim) + " claims VIP " + address.to_string() + ", which belongs to " + claim_text(owner),
             claim.where,
             "remove this claim, and claim another address: " +
                 vip_command(options, fleet, claim.cluster, claim.service, address.family())});
      }
    }
  });
}

}  // namespace isthmus
