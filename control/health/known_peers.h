// What is known of peers as a text, for the gateway that takes over: a line each. Pure functions. Failure: a line that
// says nothing is left out.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/health/health.h"

namespace isthmus {

// The first ones, as many as `most` characters hold.
[[nodiscard]] std::string known_peers_text(std::span<const KnownPeer> known, std::size_t most);
[[nodiscard]] std::vector<KnownPeer> parse_known_peers(std::string_view text);

}  // namespace isthmus
