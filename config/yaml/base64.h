// Base64 (RFC 4648 section 4) as kubeconfig files and Secrets hold it. Pure. Thread: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace isthmus {

// Skips white space; nullopt for other characters or a wrong length.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);
[[nodiscard]] std::string encode_base64(std::string_view bytes);

}  // namespace isthmus
