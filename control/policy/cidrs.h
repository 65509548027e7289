// The prefixes that policies and clusters name, each with a scoped identity of this gateway's own: an address that is
// no labelled endpoint has the identity of its longest prefix. Counted references. Thread: control.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/compile/id_pool.h"
#include "dataplane/api/policy.h"

namespace isthmus {

// A block less some blocks within it.
struct CidrBlock {
  Prefix prefix;
  std::vector<Prefix> except;  // sorted
  [[nodiscard]] bool holds(const Prefix& other) const;
  friend auto operator<=>(const CidrBlock&, const CidrBlock&) = default;
};

class CidrTable {
 public:
  struct Acquired {
    Identity identity;
    bool fresh = false;  // it had none before
  };
  Acquired acquire(const Prefix& prefix);
  // The identity that went with the last reference.
  std::optional<Identity> release(const Prefix& prefix);
  // Calls visit(prefix, identity) for each prefix within `block`.
  template <typename Visit>
  void visit_within(const CidrBlock& block, Visit&& visit) const {
    const IpAddress last = block.prefix.last();
    for (auto it = prefixes_.lower_bound(block.prefix); it != prefixes_.end() && it->first.address() <= last; ++it) {
      if (block.holds(it->first)) {
        visit(it->first, it->second.identity);
      }
    }
  }
  [[nodiscard]] std::vector<CidrIdentity> list() const;
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
