#include "config/yaml/rfc3339.h"

#include <absl/strings/ascii.h>
#include <absl/time/time.h>

#include <cstddef>

namespace isthmus {
namespace {

// Whether every part has as many digits as RFC 3339 gives it. The library also takes other lengths, a sign, spaces,
// "infinite-future", and offsets without a colon.
bool has_shape(std::string_view text) {
  constexpr std::string_view kTime = "dddd-dd-ddTdd:dd:dd", kOffset = "-dd:dd";
  const auto follows = [](std::string_view part, std::string_view shape) {
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const char c = absl::ascii_toupper(static_cast<unsigned char>(part[i]));
      if (shape[i] == 'd' ? !absl::ascii_isdigit(static_cast<unsigned char>(c)) : c != shape[i] && i != 0) {
        return false;
      }
    }
    return true;
  };
  if (text.size() <= kTime.size() || !follows(text.substr(0, kTime.size()), kTime)) {
    return false;
  }
  const bool utc = text.back() == 'Z' || text.back() == 'z';
  return utc ||
         (text.size() >= kTime.size() + kOffset.size() && follows(text.substr(text.size() - kOffset.size()), kOffset));
}

}  // namespace

std::optional<std::int64_t> parse_rfc3339(std::string_view text) {
  absl::Time time;
  if (!has_shape(text) ||
      !absl::ParseTime(absl::RFC3339_full, absl::string_view(text.data(), text.size()), &time, nullptr)) {
    return std::nullopt;
  }
  return absl::ToUnixSeconds(time);
}

}  // namespace isthmus
