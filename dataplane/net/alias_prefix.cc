#include "dataplane/net/alias_prefix.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <utility>

namespace isthmus {
namespace {

std::vector<Prefix> of_family(std::span<const Prefix> prefixes, Family family) {
  std::vector<Prefix> found;
  std::copy_if(prefixes.begin(), prefixes.end(), std::back_inserter(found),
               [&](const Prefix& prefix) { return prefix.family() == family; });
  return found;
}

// The place of the first pair with a prefix that overlaps any other one, of this or another pair, unless both are their
// own aliases. The number of pairs: there is none.
std::size_t first_overlap(const AliasPrefixes& pairs) {
  std::vector<std::pair<Prefix, std::size_t>> all;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    all.emplace_back(pairs[i].own, i);
    if (pairs[i].alias != pairs[i].own) {
      all.emplace_back(pairs[i].alias, i);
    }
  }
  std::sort(all.begin(), all.end());
  std::size_t first = pairs.size();
  const auto moves = [&](std::size_t i) { return pairs[i].own != pairs[i].alias; };
  auto widest = all.begin();  // what is inside a prefix follows it
  for (auto at = all.begin(); at != all.end(); ++at) {
    if (at == widest || !widest->first.contains(at->first)) {
      widest = at;
    } else if (moves(widest->second) || moves(at->second)) {
      first = std::min({first, widest->second, at->second});
    }
  }
  return first;
}

}  // namespace

Result<AliasPrefixes> pair_aliases(std::span<const Prefix> pods, std::span<const Prefix> aliases,
                                   const std::string& key) {
  AliasPrefixes pairs;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const std::vector<Prefix> own = of_family(pods, family), other = of_family(aliases, family);
    if (!other.empty() && own.size() != other.size()) {
      const std::string of = family == Family::kIpv4 ? "IPv4" : "IPv6";
      return Error{"of " + of + " blocks it has " + std::to_string(other.size()) + ", and " + key + " has " +
                       std::to_string(own.size()),
                   "",
                   "write in " + key + " which blocks of pods have aliases, and here one for each, in the same order"};
    }
    for (std::size_t i = 0; i < other.size(); ++i) {
      if (own[i].length() != other[i].length()) {
        return Error{"the alias " + other[i].to_string() + " is not as large as " + own[i].to_string(), "",
                     "write a block of the same length"};
      }
      pairs.push_back({own[i], other[i]});
    }
  }
  if (const auto at = first_overlap(pairs); at < pairs.size()) {
    return Error{
        "the alias " + pairs[at].alias.to_string() + " or its block of pods overlaps another block of the cluster", "",
        "write blocks that overlap nothing"};
  }
  std::erase_if(pairs, [](const AliasPrefix& pair) { return pair.own == pair.alias; });
  return pairs;
}

}  // namespace isthmus
