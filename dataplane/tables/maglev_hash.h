// What maglev_ring() hashes for a backend, and how: both must equal Cilium's to the bit. Pure functions, any thread;
// for maglev.cc and its test.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "dataplane/api/maglev.h"

namespace isthmus {

// "[10.0.0.1:80/TCP,State:active]", "[[fd00::1]:53/UDP,State:active]".
[[nodiscard]] std::string maglev_backend_text(const MaglevBackend& backend);

// MurmurHash3 x64 128: both halves of the hash.
[[nodiscard]] std::pair<std::uint64_t, std::uint64_t> murmur3_128(std::string_view data, std::uint32_t seed) noexcept;

}  // namespace isthmus
