// The prefixes used by policies and clusters, each with a locally scoped identity allocated by this gateway. An address
// that is not a labelled endpoint has the identity of its longest matching prefix. Prefixes are reference counted.
// Thread: control.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/compile/id_pool.h"
#include "dataplane/api/policy.h"

namespace isthmus {

// A prefix minus some prefixes within it.
struct CidrBlock {
  Prefix prefix;
  std::vector<Prefix> except;  // sorted
  [[nodiscard]] bool contains(const Prefix& other) const;
  friend auto operator<=>(const CidrBlock&, const CidrBlock&) = default;
};

class CidrTable {
 public:
  struct Acquired {
    Identity identity;
    bool created = false;  // this is the first reference
  };
  Acquired acquire(const Prefix& prefix);
  // Drops one reference; returns the identity when it was the last.
  std::optional<Identity> release(const Prefix& prefix);
  // Calls visit(prefix, identity) for each prefix within `block`.
  template <typename Visit>
  void visit_within(const CidrBlock& block, Visit&& visit) const {
    const IpAddress last = block.prefix.last();
    for (auto it = prefixes_.lower_bound(block.prefix); it != prefixes_.end() && it->first.address() <= last; ++it) {
      if (block.contains(it->first)) {
        visit(it->first, it->second.identity);
      }
    }
  }
  [[nodiscard]] std::vector<CidrIdentity> list() const;
  // The identity of the prefix itself.
  [[nodiscard]] std::optional<Identity> find(const Prefix& prefix) const {
    const auto at = prefixes_.find(prefix);
    return at == prefixes_.end() ? std::nullopt : std::optional(at->second.identity);
  }
  // The identity of the longest prefix that contains the address.
  [[nodiscard]] std::optional<Identity> find(const IpAddress& address) const;

 private:
  struct Entry {
    Identity identity;
    std::size_t references = 0;
  };
  std::map<Prefix, Entry> prefixes_;
  IdPool<Identity> numbers_{1024};
};

}  // namespace isthmus
