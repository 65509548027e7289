// Addresses that no member of a fleet owns, whoever says so: loopback, link-local, multicast and the like (IANA's
// special-purpose registries; RFC 6890). Those for documentation are not among them. Plain functions; thread: any.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

struct SpecialPrefix {
  Prefix prefix;
  std::string_view text;  // what it is: "loopback addresses"
};

[[nodiscard]] std::span<const SpecialPrefix> special_prefixes();
[[nodiscard]] bool is_special(const IpAddress& address);
// The end of a sentence that begins with the prefix: "which is among the loopback addresses (127.0.0.0/8)". Empty: no
// address of it is special.
[[nodiscard]] std::string special_part(const Prefix& prefix);

// Aliases of clusters, none of which is special, or has addresses of another cluster's.
class DistinctAliases {
 public:
  // Why these of a cluster cannot be; nothing: they can, as far as this goes, and are among those of the clusters.
  // Costs a look-up for each.
  [[nodiscard]] std::optional<Error> add(const std::string& cluster, const AliasPrefixes& aliases);

 private:
  std::map<Prefix, std::string> clusters_;  // by alias; none overlaps another
};

}  // namespace isthmus
