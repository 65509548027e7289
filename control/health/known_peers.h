// What is known of peers and of the paths to them as a text, for the gateway that takes over: a line each. Pure
// functions. Failure: a line that says nothing is left out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "control/health/health.h"
#include "control/health/path_mtu.h"

namespace isthmus {

struct KnownPeers {
  std::vector<KnownPeer> peers;
  std::vector<KnownPath> paths;
  friend bool operator==(const KnownPeers&, const KnownPeers&) = default;
};

// The first peers, then the first paths, as many as `most` characters hold.
[[nodiscard]] std::string known_peers_text(const KnownPeers& known, std::size_t most);
[[nodiscard]] KnownPeers parse_known_peers(std::string_view text);

}  // namespace isthmus
