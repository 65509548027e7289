#include "control/restore/claim_holders.h"

#include <utility>

namespace isthmus {
namespace {

// Calls set(key, value) for what is new or another one in `now`, and set(key, nothing) for what it lacks.
template <typename Map, typename Set>
void replace(Map& before, Map now, Set&& set) {
  for (const auto& [key, value] : before) {
    if (now.find(key) == now.end()) {
      set(key, std::nullopt);
    }
  }
  for (const auto& [key, value] : now) {
    if (const auto old = before.find(key); old == before.end() || !(old->second == value)) {
      set(key, value);
    }
  }
  before = std::move(now);
}

}  // namespace

Incumbents ClaimHolders::incumbents() const {
  Incumbents incumbents;
  for (const auto& [name, claims] : clusters_) {
    IncumbentCluster& cluster = incumbents.clusters[name];
    cluster.id = claims.id;
    cluster.prefixes = claims.prefixes;
    cluster.addresses = claims.addresses;
    for (const KeptGateway& gateway : claims.gateways) {
      cluster.gateways.emplace_back(gateway.name, gateway.underlay);
    }
  }
  for (const auto& [address, holder] : vips_) {
    incumbents.vips[address] = {holder.ns, holder.name};
  }
  return incumbents;
}

void ClaimHolders::begin_anew() {
  if (lost()) {
    beginnings_ = keeper_->beginnings();
    clusters_.clear();
    vips_.clear();
  }
}

void ClaimHolders::clusters_are(const std::vector<ClusterView>& clusters,
                                const std::map<std::string, std::vector<IpAddress>>& disputed) {
  if (keeper_ == nullptr) {
    return;
  }
  begin_anew();
  std::map<std::string, KeptClaims> now;
  for (const ClusterView& cluster : clusters) {
    if (cluster.local) {  // has what it says in any case
      continue;
    }
    KeptClaims& claims = now[cluster.name];
    claims.id = cluster.id;
    claims.prefixes = cluster.prefixes;
    if (const auto addresses = disputed.find(cluster.name); addresses != disputed.end()) {
      claims.addresses = addresses->second;
    }
    for (const auto& gateway : cluster.gateways) {
      claims.gateways.push_back({gateway.name, gateway.underlay});
    }
  }
  replace(clusters_, std::move(now),
          [&](const std::string& name, const std::optional<KeptClaims>& claims) { keeper_->claims(name, claims); });
}

void ClaimHolders::services_are(const std::vector<ServiceView>& services) {
  if (keeper_ == nullptr) {
    return;
  }
  begin_anew();
  std::map<IpAddress, KeptHolder> now;
  for (const ServiceView& service : services) {
    for (const IpAddress& vip : service.vips) {
      now[vip] = {service.name.ns, service.name.name};
    }
  }
  replace(vips_, std::move(now),
          [&](const IpAddress& vip, const std::optional<KeptHolder>& holder) { keeper_->holder(vip, holder); });
}

}  // namespace isthmus
