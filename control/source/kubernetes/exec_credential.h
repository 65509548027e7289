// Parses the output of a credential program: an ExecCredential object of client.authentication.k8s.io. Pure; nothing
// throws. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

struct ExecCredential {
  std::string token, certificate, key;
  std::optional<std::int64_t> expires;  // seconds since 1970
};
[[nodiscard]] Result<ExecCredential> read_exec_credential(std::string_view text);

}  // namespace isthmus
