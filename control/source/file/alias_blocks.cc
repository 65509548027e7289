#include "control/source/file/alias_blocks.h"

#include <algorithm>
#include <iterator>

#include "config/model/special_prefixes.h"
#include "config/yaml/read.h"

namespace isthmus {
namespace {

bool within(const Prefix& outer, const Prefix& inner) {
  return outer.family() == inner.family() && outer.contains(inner);
}
bool overlapping(const Prefix& a, const Prefix& b) { return within(a, b) || within(b, a); }

const char* family_text(Family family) { return family == Family::kIpv4 ? "IPv4" : "IPv6"; }

bool in_pools(const AliasRequest& request, const Prefix& block) {
  return std::any_of(request.pools.begin(), request.pools.end(),
                     [&](const Prefix& pool) { return within(pool, block); });
}

bool has_pool(const AliasRequest& request, Family family) {
  return std::any_of(request.pools.begin(), request.pools.end(),
                     [&](const Prefix& pool) { return pool.family() == family; });
}

// The first address behind the block; nothing: there is none.
std::optional<IpAddress> address_behind(const Prefix& block) {
  IpAddress::ByteArray bytes = block.last().bytes();
  auto byte = bytes.rbegin();
  for (; byte != bytes.rend() && ++*byte == 0; ++byte) {
  }
  return byte == bytes.rend() ? std::nullopt : std::optional(IpAddress(bytes));
}

// `taken` is sorted by its first addresses.
std::optional<Prefix> lowest_free_block(const Prefix& pool, std::uint8_t length, const std::vector<Prefix>& taken) {
  if (length < pool.length()) {
    return std::nullopt;
  }
  Prefix candidate(pool.address(), length);
  for (const Prefix& used : taken) {
    if (used.family() != pool.family() || used.last() < candidate.address()) {
      continue;
    }
    if (candidate.last() < used.address()) {
      break;
    }
    const auto next = address_behind(used.contains(candidate) ? used : candidate);
    if (!next || !pool.contains(*next)) {
      return std::nullopt;
    }
    candidate = Prefix(*next, length);
  }
  return candidate;
}

std::vector<Prefix> sorted_blocks(const AliasView& view) {
  std::vector<Prefix> blocks;
  std::transform(view.taken.begin(), view.taken.end(), std::back_inserter(blocks),
                 [](const auto& each) { return each.first; });
  std::sort(blocks.begin(), blocks.end());
  return blocks;
}

// What is allowed to a cluster of which no object says where its pods are counts as its own; what gateways admit of
// nobody is nobody's.
void take_unsaid(AliasView& view) {
  for (const SpecialPrefix& special : special_prefixes()) {
    view.taken.emplace_back(special.prefix, special.text);
  }
  for (const auto& [cluster, blocks] : view.allowed) {
    if (const auto at = view.pods.find(cluster); at == view.pods.end() || at->second.empty()) {
      for (const Prefix& block : blocks) {
        view.taken.emplace_back(block, "what is allowed to cluster " + cluster);
      }
    }
  }
}

// The cluster's blocks of pods, without those inside another of them.
Result<std::vector<Prefix>> pod_blocks(const AliasRequest& request, const AliasView& view) {
  const auto cluster = view.pods.find(request.cluster);
  if (cluster == view.pods.end()) {
    return Error{"there is no cluster " + shown(request.cluster), {}, "name one that has a Cluster object"};
  }
  const auto allowed = view.allowed.find(request.cluster);
  const std::vector<Prefix>& all =
      !cluster->second.empty() || allowed == view.allowed.end() ? cluster->second : allowed->second;
  std::vector<Prefix> blocks;
  for (const Prefix& block : all) {
    const bool inside = std::any_of(all.begin(), all.end(),
                                    [&](const Prefix& other) { return other != block && within(other, block); });
    if (!inside && std::find(blocks.begin(), blocks.end(), block) == blocks.end()) {
      blocks.push_back(block);
    }
  }
  if (blocks.empty()) {
    return Error{"nothing says which addresses the pods of cluster " + request.cluster + " have",
                 {},
                 "write spec.podCIDRs of its Cluster, or podCIDRs of its entry in the members of a profile"};
  }
  return blocks;
}

// The alias that the block has, or nothing.
Result<std::optional<AliasPrefix>> existing_alias(const AliasRequest& request, const AliasView& view,
                                                  const Prefix& block) {
  for (const AliasView::Existing& existing : view.aliases) {
    const auto& [own, alias] = existing.pair;
    const std::string said = own.to_string() + " of cluster " + request.cluster + " has the alias " + alias.to_string();
    if (within(alias, block)) {
      return std::optional(AliasPrefix{block, block});
    }
    if (within(own, block)) {
      if (has_pool(request, alias.family()) && !in_pools(request, alias)) {
        return Error{
            said + ", which is in none of the pools", existing.provenance.text(),
            "give a pool with it: a claim never moves; or remove it from profile " + existing.profile + " first"};
      }
      return std::optional(AliasPrefix{block, to_alias(AliasPrefixes{existing.pair}, block)});
    }
    if (within(block, own)) {
      return Error{said + ", and is part of " + block.to_string() + ", which has none", existing.provenance.text(),
                   "remove it from profile " + existing.profile + " first, or correct the cluster's podCIDRs"};
    }
  }
  return std::optional<AliasPrefix>();
}

std::optional<Prefix> free_block(const AliasRequest& request, const Prefix& block, const std::vector<Prefix>& taken) {
  std::optional<Prefix> free;
  for (auto pool = request.pools.begin(); pool != request.pools.end() && !free; ++pool) {
    free = pool->family() == block.family() ? lowest_free_block(*pool, block.length(), taken) : std::nullopt;
  }
  return free;
}

Error used_up(const AliasRequest& request, const AliasView& view, const Prefix& block) {
  constexpr std::size_t kNamed = 3;
  std::string users;
  std::size_t found = 0;
  for (const auto& [prefix, user] : view.taken) {
    const bool of_pools = prefix.family() == block.family() &&
                          std::any_of(request.pools.begin(), request.pools.end(),
                                      [&, &of = prefix](const Prefix& pool) { return overlapping(pool, of); });
    if (of_pools && ++found <= kNamed) {
      users += (users.empty() ? "" : "; ") + prefix.to_string() + ", " + user;
    }
  }
  users += found > kNamed ? "; and " + std::to_string(found - kNamed) + " more" : "";
  return {std::string("no free ") + family_text(block.family()) + " block as large as " + block.to_string() +
              " is left in the pools",
          {},
          "give a larger pool" + (users.empty() ? std::string() : ", or another one; in use are " + users)};
}

// The pairs of the profile alias-CLUSTER, if it says nothing but these.
Result<AliasPrefixes> claimed_pairs(const AliasRequest& request, const AliasView& view) {
  if (!view.claim) {
    return AliasPrefixes{};
  }
  const ProfileObject& profile = view.claim->profile;
  const auto member = profile.members.find(request.cluster);
  ProfileObject::Member rest = member == profile.members.end() ? ProfileObject::Member{} : member->second;
  const AliasPrefixes pairs = rest.aliases;
  std::vector<Prefix> pods = rest.pod_prefixes.value_or(std::vector<Prefix>{}), own;
  std::transform(pairs.begin(), pairs.end(), std::back_inserter(own), [](const AliasPrefix& pair) { return pair.own; });
  std::sort(pods.begin(), pods.end());
  std::sort(own.begin(), own.end());
  rest.aliases.clear();
  rest.pod_prefixes.reset();
  const bool plain = profile.clusters == std::vector{request.cluster} && profile.vip_pools.empty() &&
                     profile.members.size() <= 1 && pods == own && rest == ProfileObject::Member{};
  return plain ? Result<AliasPrefixes>(pairs)
               : Result<AliasPrefixes>(Error{"profile " + alias_profile_name(request.cluster) +
                                                 " says more than a claim of aliases, and is not changed",
                                             view.claim->provenance.text(),
                                             "move the rest to another profile, so that it names cluster " +
                                                 request.cluster + " alone, with podCIDRs and as many aliasCIDRs"});
}

}  // namespace

bool AliasPlan::changes() const {
  return std::any_of(blocks.begin(), blocks.end(), [](const AliasBlock& block) { return block.fresh; });
}

std::string alias_profile_name(const std::string& cluster) { return "alias-" + cluster; }

void collect_alias_blocks(const ObjectDelta& delta, const AliasRequest& request, AliasView& view) {
  const auto take = [&](const std::vector<Prefix>& blocks, const std::string& user) {
    for (const Prefix& block : blocks) {
      view.taken.emplace_back(block, user);
    }
  };
  const auto take_addresses = [&](const std::vector<IpAddress>& addresses, const std::string& user) {
    for (const IpAddress& address : addresses) {
      view.taken.emplace_back(Prefix(address, 128), user);
    }
  };
  const ObjectKey& key = delta.key;
  if (const auto* cluster = std::get_if<ClusterObject>(&*delta.value)) {
    view.pods[key.name] = cluster->pod_prefixes;
    take(cluster->pod_prefixes, "cluster " + key.name);
    take(cluster->node_prefixes, "nodes of cluster " + key.name);
  } else if (const auto* gateway = std::get_if<GatewayObject>(&*delta.value)) {
    take_addresses({gateway->underlay}, "gateway " + key.name);
    take_addresses(gateway->more, "gateway " + key.name);
  } else if (const auto* node = std::get_if<NodeObject>(&*delta.value)) {
    take_addresses(node->addresses, "node " + key.name);
    take(node->pod_prefixes, "node " + key.name);
  } else if (const auto* service = std::get_if<ServiceObject>(&*delta.value)) {
    take_addresses(service->claimed_vips, "Service " + key.ns + "/" + key.name);
  } else if (const auto* import = std::get_if<ServiceImportObject>(&*delta.value)) {
    take_addresses(import->ips, "ServiceImport " + key.ns + "/" + key.name);
  } else if (const auto* profile = std::get_if<ProfileObject>(&*delta.value)) {
    take(profile->vip_pools, "VIPs of profile " + key.name);
    for (const auto& [of, member] : profile->members) {
      take(member.vip_pools, "VIPs of cluster " + of);
      for (const AliasPrefix& pair : member.aliases) {
        take({pair.alias}, "alias of cluster " + of);
        take({pair.own}, "pods of cluster " + of);
        if (of == request.cluster) {
          view.aliases.push_back({pair, key.name, delta.provenance});
        }
      }
      const bool claims = key.name == alias_profile_name(of);
      const std::vector<Prefix> allowed =
          claims ? std::vector<Prefix>{} : member.pod_prefixes.value_or(std::vector<Prefix>{});
      view.allowed[of].insert(view.allowed[of].end(), allowed.begin(), allowed.end());
    }
    if (key.name == alias_profile_name(request.cluster)) {
      view.claim = {*profile, delta.provenance};
    }
  }
}

Status check_alias_request(const AliasRequest& request) {
  if (!is_label(request.cluster, kClusterNameLength)) {
    return Error{shown(request.cluster) + " is not the name of a cluster", {}, "name one that has a Cluster object"};
  }
  if (request.pools.empty()) {
    return Error{"no pool of addresses is given", {}, "give one, such as --pool 100.64.0.0/10"};
  }
  for (std::size_t i = 0; i < request.pools.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (overlapping(request.pools[i], request.pools[j])) {
        return Error{"the pools " + request.pools[j].to_string() + " and " + request.pools[i].to_string() + " overlap",
                     {},
                     "give pools that have no address in common"};
      }
    }
  }
  return Ok{};
}

Result<AliasPlan> plan_aliases(const AliasRequest& request, const AliasView& hub) {
  const auto pods = pod_blocks(request, hub);
  if (!pods) {
    return pods.error();
  }
  AliasView view = hub;
  take_unsaid(view);
  auto claimed = claimed_pairs(request, view);
  AliasPlan plan;
  std::vector<Prefix> taken = sorted_blocks(view);
  for (const Prefix& block : *pods) {
    const auto existing = existing_alias(request, view, block);
    if (!existing) {
      return existing.error();
    }
    if (*existing) {
      plan.blocks.push_back({**existing, false});
      continue;
    }
    if (!has_pool(request, block.family())) {
      plan.notes.push_back(block.to_string() + " gets no alias: no pool of " + family_text(block.family()) +
                           " is given");
      continue;
    }
    const auto free = free_block(request, block, taken);
    if (!free) {
      return used_up(request, view, block);
    }
    taken.insert(std::upper_bound(taken.begin(), taken.end(), *free), *free);
    plan.blocks.push_back({{block, *free}, true});
  }
  if (!plan.changes()) {
    return plan;
  }
  if (!claimed) {
    return claimed.error();
  }
  plan.claim = *std::move(claimed);
  for (const AliasBlock& block : plan.blocks) {
    if (block.fresh) {
      plan.claim.push_back(block.pair);
    }
  }
  return plan;
}

std::string user_of(const Prefix& block, const AliasView& view) {
  AliasView all = view;
  take_unsaid(all);
  const auto at = std::find_if(all.taken.begin(), all.taken.end(),
                               [&](const auto& each) { return overlapping(each.first, block); });
  return at == all.taken.end() ? std::string() : at->first.to_string() + ", " + at->second;
}

std::string alias_members_json(const std::string& cluster, const AliasPrefixes& pairs) {
  std::string pods, aliases;
  for (const AliasPrefix& pair : pairs) {
    pods += (pods.empty() ? "\"" : ", \"") + pair.own.to_string() + "\"";
    aliases += (aliases.empty() ? "\"" : ", \"") + pair.alias.to_string() + "\"";
  }
  return R"([{"cluster": ")" + cluster + R"(", "podCIDRs": [)" + pods + R"(], "aliasCIDRs": [)" + aliases + "]}]";
}

std::string join_aliases(const AliasPrefixes& pairs) {
  std::string text;
  for (const AliasPrefix& pair : pairs) {
    text += (text.empty() ? "" : ", ") + pair.own.to_string() + " is " + pair.alias.to_string();
  }
  return text;
}

}  // namespace isthmus
