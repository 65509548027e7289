#include "dataplane/publish/host_rule_lists.h"

#include <utility>

namespace isthmus {
namespace {

constexpr std::uint32_t kListed = 1;
constexpr std::uint8_t kWholeAddress = 128;

// Calls each(list, prefix) for every entry of the rules.
template <typename Each>
void for_each_rule(const SteerRules& rules, Each&& each) {
  for (const IpAddress& peer : rules.peers) {
    each(HostRules::List::kPeers, Prefix(peer, kWholeAddress));
  }
  for (const Prefix& prefix : rules.fleet) {
    each(HostRules::List::kFleet, prefix);
  }
  for (const Prefix& prefix : rules.local_sources) {
    each(HostRules::List::kLocalSources, prefix);
  }
  for (const Prefix& prefix : rules.native) {
    each(HostRules::List::kNative, prefix);
  }
}

}  // namespace

HostRuleLists::HostRuleLists() : lists_(HostRules::kLists * HostRules::kFamilies, PrefixRanges(Realm{})) {}

void HostRuleLists::add(const SteerRules& rules) {
  for_each_rule(rules, [&](List list, const Prefix& prefix) { ranges(list, prefix.family()).set(prefix, kListed); });
}

void HostRuleLists::remove(const SteerRules& rules) {
  for_each_rule(rules, [&](List list, const Prefix& prefix) { ranges(list, prefix.family()).erase(prefix, kListed); });
}

void HostRuleLists::replace(const SteerRules& rules) {
  tunnel_ = rules.tunnel;
  lists_.assign(lists_.size(), PrefixRanges(Realm{}));
  add(rules);
  rules_ = nullptr;
}

void HostRuleLists::change(const SteerChange& change) {
  if (!change.empty()) {
    add(change.added);
    remove(change.removed);
    rules_ = nullptr;
  }
}

std::shared_ptr<const HostRules> HostRuleLists::rules() {
  if (rules_ == nullptr) {
    HostRules::Lists lists;
    for (std::size_t i = 0; i < lists_.size(); ++i) {
      lists[i / HostRules::kFamilies][i % HostRules::kFamilies] = lists_[i].map();
    }
    rules_ = std::make_shared<const HostRules>(tunnel_, std::move(lists));
  }
  return rules_;
}

}  // namespace isthmus
