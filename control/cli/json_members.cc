#include "control/cli/json_members.h"

#include "control/cli/table.h"

namespace isthmus {

Error not_an_answer() {
  return Error{"the gateway's answer cannot be read", "", "use the isthmus program of the gateway's own version"};
}

Status check_answer(const nlohmann::json& document) {
  if (!document.is_object()) {
    return not_an_answer();
  }
  if (is_set(document, "ok")) {
    return Ok{};
  }
  const nlohmann::json& error = member(document, "error");
  const std::string what = text_of(error, "what");
  if (what.empty()) {
    return not_an_answer();
  }
  return Error{printable(what), printable(text_of(error, "where")), printable(text_of(error, "fix"))};
}

}  // namespace isthmus
