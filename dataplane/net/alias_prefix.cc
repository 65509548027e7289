#include "dataplane/net/alias_prefix.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace isthmus {
namespace {

std::vector<Prefix> of_family(std::span<const Prefix> prefixes, Family family) {
  std::vector<Prefix> found;
  std::copy_if(prefixes.begin(), prefixes.end(), std::back_inserter(found),
               [&](const Prefix& prefix) { return prefix.family() == family; });
  return found;
}

bool overlap(const Prefix& a, const Prefix& b) { return a.contains(b) || b.contains(a); }

}  // namespace

Result<AliasPrefixes> pair_aliases(std::span<const Prefix> pods, std::span<const Prefix> aliases) {
  AliasPrefixes pairs;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const std::vector<Prefix> own = of_family(pods, family), other = of_family(aliases, family);
    if (!other.empty() && own.size() != other.size()) {
      return Error{std::to_string(other.size()) + (family == Family::kIpv4 ? " IPv4" : " IPv6") +
                       " aliases stand for " + std::to_string(own.size()) + " blocks of pods",
                   "", "write an alias for each block of pods of that family, in the same order"};
    }
    for (std::size_t i = 0; i < other.size(); ++i) {
      if (own[i].length() != other[i].length()) {
        return Error{"the alias " + other[i].to_string() + " is not as large as " + own[i].to_string(), "",
                     "write a block of the same length"};
      }
      if (own[i] != other[i]) {  // else an address is its own alias
        pairs.push_back({own[i], other[i]});
      }
    }
  }
  for (const AliasPrefix& pair : pairs) {
    const bool taken = std::any_of(pairs.begin(), pairs.end(), [&](const AliasPrefix& each) {
      return overlap(pair.alias, each.own) ||
             (&pair != &each && (overlap(pair.alias, each.alias) || overlap(pair.own, each.own)));
    });
    if (taken) {
      return Error{
          "the alias " + pair.alias.to_string() + " or its block of pods overlaps another block of the cluster", "",
          "write blocks that overlap nothing"};
    }
  }
  return pairs;
}

}  // namespace isthmus
