// Which of its accepted prefixes a cluster uses: those that are in no other one, up to its limit. What is beyond keeps
// its place among the claims of its own cluster, goes after everybody else's, and comes to be used when there is room.
#include <algorithm>
#include <iterator>
#include <map>

#include "control/compile/prefix_claims.h"

namespace isthmus {
namespace {

// Whether the prefix is inside one of these, which are sorted and disjoint.
bool covered(const std::vector<Prefix>& outer, const Prefix& prefix) {
  const auto after = std::upper_bound(outer.begin(), outer.end(), prefix);
  return after != outer.begin() && std::prev(after)->contains(prefix);
}

}  // namespace

// Ends: what is accepted changes only where something beyond a limit gives way, and that remains beyond it until all is
// decided. Chains from one limit to another are short, since of equals the lowest prefixes are used: what one cluster
// frees is higher than what the other one has.
void PrefixClaims::apply_limits() {
  const std::set<Name> fresh = std::exchange(fresh_, {});
  std::map<std::string, std::set<Prefix>> changed;  // by cluster
  for (const bool accepted : {false, true}) {       // what is accepted takes in what is inside it
    for (const Name& name : fresh) {
      const Entry* entry = find(name);
      if ((entry != nullptr && entry->accepted) == accepted) {
        update_accepted(name);
        changed[name.second].insert(name.first);
      }
    }
  }
  for (auto& [cluster, prefixes] : changed) {
    enqueue_waiting(cluster);
    std::vector<Prefix> now = beyond_limit(cluster);
    std::vector<Prefix>& before = over_[cluster];
    if (now.empty() && before.empty()) {
      continue;
    }
    std::vector<Prefix> turned;
    std::set_symmetric_difference(before.begin(), before.end(), now.begin(), now.end(), std::back_inserter(turned));
    before = std::move(now);
    for (const Prefix& outer : turned) {
      prefixes.insert(outer);
      entries_.inside(outer, [&, &of = prefixes](const Prefix& prefix, const Entries&) {
        of.insert(prefix);
        return true;
      });
    }
    for (const Prefix& prefix : prefixes) {
      if (Entry* entry = find({prefix, cluster}); entry != nullptr) {
        set_over({prefix, cluster}, *entry);
      }
    }
  }
}

// What has been cut and others have by now: it has its turn like any other claim when its cluster may have room.
std::set<PrefixClaims::Name> PrefixClaims::take_cut() {
  std::set<Name> taken;
  for (const Name& name : std::exchange(cut_, {})) {
    Entry& entry = *find(name);
    if (entry.over && !entry.accepted) {
      entry.over = false;
      waiting_[name.second].insert(name.first);
      taken.insert(name);
    }
  }
  return taken;
}

// What was beyond the limit and went to others has its turn again when the prefixes of its cluster change: there may be
// room. It goes before what is beyond the limits of others then.
void PrefixClaims::enqueue_waiting(const std::string& cluster) {
  const auto waiting = waiting_.extract(cluster);
  if (waiting.empty()) {
    return;
  }
  for (const Prefix& prefix : waiting.mapped()) {
    if (Entry* entry = find({prefix, cluster}); entry != nullptr && !entry->accepted) {
      enqueue(prefix, *entry);
    }
  }
}

// The accepted prefixes that are not inside others of their cluster, after a change at `name`.
void PrefixClaims::update_accepted(const Name& name) {
  std::set<Prefix>& outer = accepted_[name.second];
  const Entry* entry = find(name);
  const auto after = outer.upper_bound(name.first);
  const bool inside = after != outer.begin() && std::prev(after)->contains(name.first);
  if (entry != nullptr && entry->accepted) {
    if (!inside) {
      auto last = after;
      while (last != outer.end() && name.first.contains(*last)) {
        ++last;
      }
      outer.erase(after, last);
      outer.insert(name.first);
    }
    return;
  }
  if (outer.erase(name.first) == 0) {
    return;
  }
  std::optional<Prefix> last;
  entries_.inside(name.first, [&](const Prefix& prefix, const Entries& entries) {
    const bool its = std::any_of(entries.begin(), entries.end(),
                                 [&](const Entry& e) { return e.accepted && e.cluster == name.second; });
    if (its && !(last && last->contains(prefix))) {
      outer.insert(prefix);
      last = prefix;
    }
    return true;
  });
}

// Of what was beyond the limit and has been taken by others, that remains so until all is decided: whether it has room
// depends on it again.
void PrefixClaims::set_over(const Name& name, Entry& entry) {
  const bool over = covered(over_[name.second], name.first) || (!entry.accepted && cut_.count(name) != 0);
  if (entry.over == over) {
    return;
  }
  entry.over = over;
  gateways_touched_ = gateways_touched_ || has_tunnel_end(name.first);
  if (over) {
    cut_.insert(name);
    enqueue_refused_at(name.first);
  } else {
    set_accepted(name.first, entry, false);
    enqueue(name.first, entry);
  }
}

// What of its prefixes is not used, sorted: the limit keeps those that the cluster had before the others.
std::vector<Prefix> PrefixClaims::beyond_limit(const std::string& cluster) {
  const std::set<Prefix>& outer = accepted_[cluster];
  const std::size_t most = fleet_->admission.prefixes_per_cluster();
  too_many_.erase(cluster);
  if (outer.size() <= most || cluster == options_.cluster) {
    return {};
  }
  std::vector<std::pair<int, Prefix>> ranked;
  ranked.reserve(outer.size());
  for (const Prefix& prefix : outer) {
    int rank = rank_of(prefix, *find({prefix, cluster}));
    entries_.inside(prefix, [&](const Prefix& at, const Entries& entries) {
      for (const Entry& entry : entries) {
        if (entry.accepted && entry.cluster == cluster) {
          rank = std::min(rank, rank_of(at, entry));
        }
      }
      return true;
    });
    ranked.emplace_back(rank, prefix);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<Prefix> over;
  for (auto at = ranked.begin() + static_cast<std::ptrdiff_t>(most); at != ranked.end(); ++at) {
    over.push_back(at->second);
  }
  std::sort(over.begin(), over.end());
  too_many_[cluster] = {"cluster " + cluster + " has " + std::to_string(outer.size()) + " prefixes, of which " +
                            std::to_string(most) + " are used; " + over.front().to_string() +
                            " is the first that is not",
                        where(*find({over.front(), cluster})),
                        "give its nodes prefixes that merge, or allow more (admission.prefixes_per_cluster)"};
  return over;
}

std::vector<Prefix> PrefixClaims::used_of(const std::string& cluster) const {
  std::vector<Prefix> used;
  const auto outer = accepted_.find(cluster);
  const auto over = over_.find(cluster);
  if (outer != accepted_.end()) {
    static const std::vector<Prefix> none;
    const std::vector<Prefix>& without = over == over_.end() ? none : over->second;
    std::set_difference(outer->second.begin(), outer->second.end(), without.begin(), without.end(),
                        std::back_inserter(used));
  }
  return used;
}

}  // namespace isthmus
