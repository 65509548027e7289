// Times as hubs, credential plugins and people write them: RFC 3339 section 5.6. Pure; thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace isthmus {

// "2026-03-02T10:00:00Z" or "2026-03-02T11:30:00.5+01:30" in seconds since 1970, a fraction cut off. Nothing: no such
// time.
[[nodiscard]] std::optional<std::int64_t> parse_rfc3339(std::string_view text);

}  // namespace isthmus
