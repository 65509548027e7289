#include "control/admission/rules.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <string_view>
#include <utility>

#include "config/model/special_prefixes.h"

namespace isthmus {
namespace {

bool overlap(const Prefix& a, const Prefix& b) { return a.family() == b.family() && (a.contains(b) || b.contains(a)); }

bool inside_one(const std::vector<Prefix>& prefixes, const Prefix& prefix) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const Prefix& other) { return other.family() == prefix.family() && other.contains(prefix); });
}

std::string first_of(std::initializer_list<std::string> reasons) {
  const auto* const reason =
      std::find_if(reasons.begin(), reasons.end(), [](const auto& text) { return !text.empty(); });
  return reason == reasons.end() ? std::string() : *reason;
}

}  // namespace

Admission::Admission(AdmissionRules rules, std::string own, std::vector<ReservedAddress> reserved)
    : rules_(std::move(rules)), own_(std::move(own)), reserved_(std::move(reserved)) {
  const auto networks = std::stable_partition(reserved_.begin(), reserved_.end(),
                                              [](const ReservedAddress& each) { return !each.network; });
  networks_.assign(std::make_move_iterator(networks), std::make_move_iterator(reserved_.end()));
  reserved_.erase(networks, reserved_.end());
  std::sort(reserved_.begin(), reserved_.end());
  std::sort(networks_.begin(), networks_.end());
}

void Admission::allow_pods(const std::string& cluster, const std::vector<Prefix>& prefixes) {
  pods_[cluster].insert(pods_[cluster].end(), prefixes.begin(), prefixes.end());
}

void Admission::allow_vips(const std::string& cluster, const std::vector<Prefix>& pools) {
  if (!pools.empty()) {
    vips_[cluster].insert(vips_[cluster].end(), pools.begin(), pools.end());
  }
}

const std::vector<Prefix>* Admission::pods_of(const std::string& cluster) const {
  const auto allowed = pods_.find(cluster);
  return allowed == pods_.end() ? nullptr : &allowed->second;
}

std::optional<Prefix> Admission::vip_pool_of(const std::string& cluster, Family family) const {
  const auto of = vips_.find(cluster);
  for (const std::vector<Prefix>* pools : {of == vips_.end() ? nullptr : &of->second, &rules_.vip_pools}) {
    if (pools == nullptr) {
      continue;
    }
    const auto pool = std::find_if(pools->begin(), pools->end(),
                                   [&](const Prefix& each) { return each.family() == family && each.length() != 0; });
    if (pool != pools->end()) {
      return *pool;
    }
  }
  return std::nullopt;
}

void Admission::reserve(const ReservedAddress& address) {
  reserved_.insert(std::upper_bound(reserved_.begin(), reserved_.end(), address), address);
}

void Admission::release(const ReservedAddress& address) {
  const auto at = std::lower_bound(reserved_.begin(), reserved_.end(), address);
  if (at != reserved_.end() && *at == address) {
    reserved_.erase(at);
  }
}

std::string Admission::too_short(const Prefix& prefix) const {
  const unsigned shortest = prefix.family() == Family::kIpv4 ? rules_.shortest_ipv4 : rules_.shortest_ipv6;
  return prefix.length() < shortest ? "which is shorter than /" + std::to_string(shortest) : std::string();
}

std::string Admission::outside(const std::string& cluster, const Prefix& prefix) const {
  if (const auto allowed = pods_.find(cluster); allowed != pods_.end()) {
    return inside_one(allowed->second, prefix) ? std::string() : "which is outside what is allowed to it by name";
  }
  return inside_one(rules_.ranges, prefix) ? std::string() : "which is outside admission.ranges";
}

std::string Admission::takes_reserved(const std::string& cluster, const Prefix& prefix, bool pods) const {
  if (cluster == own_) {
    return {};
  }
  for (auto at = std::lower_bound(reserved_.begin(), reserved_.end(), ReservedAddress{prefix.address(), {}});
       at != reserved_.end() && at->address.family() == prefix.family() && prefix.contains(at->address); ++at) {
    if (pods || !at->elsewhere) {
      const bool whole = prefix.address() == prefix.last();
      return whole ? "which is " + at->text : "which includes " + at->address.to_string() + ", " + at->text;
    }
  }
  return {};
}

std::string Admission::takes_network(const std::string& cluster, const Prefix& prefix) const {
  if (cluster == own_) {
    return {};
  }
  const auto at = std::find_if(networks_.begin(), networks_.end(),
                               [&](const ReservedAddress& reserved) { return overlap(*reserved.network, prefix); });
  return at == networks_.end() ? std::string() : "which overlaps " + at->network->to_string() + ", " + at->text;
}

std::string Admission::takes_own(const std::string& cluster, const Prefix& prefix) const {
  const auto at = cluster == own_ ? own_prefixes_.end()
                                  : std::find_if(own_prefixes_.begin(), own_prefixes_.end(),
                                                 [&](const Prefix& own) { return overlap(own, prefix); });
  return at == own_prefixes_.end() ? std::string()
                                   : "which overlaps " + at->to_string() +
                                         " of this cluster's own pods: it needs an alias as well, by "
                                         "aliasCIDRs of a profile";
}

// A pool without bounds, or with all of a range of pods in it, says where VIPs may be, and not that pods may not.
std::string Admission::pool_under(const std::vector<Prefix>& pools, const Prefix& prefix) const {
  const auto for_vips_alone = [&](const Prefix& pool) {
    return pool.length() != 0 && std::none_of(rules_.ranges.begin(), rules_.ranges.end(), [&](const Prefix& range) {
             return range.family() == pool.family() && pool.contains(range);
           });
  };
  const auto pool = std::find_if(pools.begin(), pools.end(),
                                 [&](const Prefix& p) { return overlap(p, prefix) && for_vips_alone(p); });
  return pool == pools.end() ? std::string() : "which overlaps the VIP pool " + pool->to_string();
}

std::string Admission::takes_pool(const std::string& cluster, const Prefix& prefix) const {
  if (cluster == own_) {
    return {};
  }
  std::string pool = pool_under(rules_.vip_pools, prefix);
  for (auto of = vips_.begin(); of != vips_.end() && pool.empty(); ++of) {
    pool = pool_under(of->second, prefix);
  }
  return pool;
}

std::string Admission::under_alias(const Prefix& alias) const {
  static constexpr std::string_view kWords[] = {"which overlaps ", "which includes ", "which is "};
  const std::string nobody;  // as for a member that is not we
  std::string found =
      first_of({takes_pool(nobody, alias), takes_reserved(nobody, alias, true), takes_network(nobody, alias)});
  for (const std::string_view words : kWords) {
    if (found.starts_with(words)) {
      return found.substr(words.size());
    }
  }
  return found;
}

std::string Admission::refuse_nodes(const std::string& cluster, const Prefix& prefix) const {
  const bool inside = cluster == own_ || inside_one(rules_.node_ranges, prefix);
  return first_of({too_short(prefix), special_part(prefix), takes_pool(cluster, prefix), takes_own(cluster, prefix),
                   inside ? std::string() : "which is outside admission.node_ranges"});
}

std::string Admission::refuse_node(const std::string& cluster, const IpAddress& address) const {
  const Prefix host(address, 128);
  return first_of({special_part(host), takes_pool(cluster, host), takes_reserved(cluster, host, false)});
}

std::string Admission::refuse_pods(const std::string& cluster, const Prefix& prefix) const {
  return first_of({too_short(prefix), special_part(prefix), takes_pool(cluster, prefix), takes_own(cluster, prefix),
                   cluster == own_ ? std::string() : outside(cluster, prefix)});
}

std::string Admission::refuse_gateway(const std::string& cluster, const IpAddress& address) const {
  const Prefix host(address, 128);
  return first_of({special_part(host), takes_reserved(cluster, host, false), takes_pool(cluster, host)});
}

std::string Admission::refuse_vip(const std::string& cluster, const IpAddress& address) const {
  const Prefix host(address, 128);
  if (const std::string special = special_part(host); !special.empty()) {
    return special;
  }
  if (const std::string reserved = takes_reserved(cluster, host, true); !reserved.empty()) {
    return reserved;
  }
  if (const auto own =
          std::find_if(own_prefixes_.begin(), own_prefixes_.end(), [&](const Prefix& of) { return overlap(of, host); });
      own != own_prefixes_.end()) {
    return "which lies inside " + own->to_string() + " of this cluster's own pods";
  }
  const auto of_cluster = vips_.find(cluster);
  const bool allowed =
      inside_one(rules_.vip_pools, host) || (of_cluster != vips_.end() && inside_one(of_cluster->second, host));
  return allowed ? std::string() : "which is in no VIP pool of the cluster";
}

}  // namespace isthmus
