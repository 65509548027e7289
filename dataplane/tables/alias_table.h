// The alias prefixes of our own cluster: what its addresses are called outside it, one to one. Where the cluster has
// none, the table is empty, and nothing is translated.
// Thread: built by control before it is published; read by any.
#pragma once

#include <utility>
#include <vector>

#include "dataplane/net/alias_prefix.h"

namespace isthmus {

class AliasTable {
 public:
  AliasTable() = default;
  explicit AliasTable(std::vector<AliasPrefix> prefixes) : prefixes_(std::move(prefixes)) {}

  [[nodiscard]] bool empty() const noexcept { return prefixes_.empty(); }
  // The alias of one of our own addresses; any other as it is.
  [[nodiscard]] IpAddress to_alias(const IpAddress& address) const noexcept {
    return isthmus::to_alias(prefixes_, address);
  }
  // The address that an alias stands for; any other as it is.
  [[nodiscard]] IpAddress to_own(const IpAddress& address) const noexcept {
    return isthmus::to_own(prefixes_, address);
  }
  // Whether it is ours and has an alias: such an address must not be seen outside.
  [[nodiscard]] bool is_own(const IpAddress& address) const noexcept {
    return !prefixes_.empty() && to_alias(address) != address;
  }
  [[nodiscard]] bool is_alias(const IpAddress& address) const noexcept {
    return !prefixes_.empty() && to_own(address) != address;
  }

 private:
  std::vector<AliasPrefix> prefixes_;
};

}  // namespace isthmus
