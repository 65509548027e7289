#include "control/source/kubernetes/exec_credential.h"

#include <utility>

#include "config/yaml/json.h"
#include "config/yaml/read.h"
#include "config/yaml/rfc3339.h"

namespace isthmus {

Result<ExecCredential> read_exec_credential(std::string_view text) {
  const auto invalid = [](std::string what) {
    return Error{"the credential program's output " + std::move(what), "",
                 "it must print an ExecCredential object of client.authentication.k8s.io"};
  };
  auto parsed = parse_json(text);
  if (const auto* error = std::get_if<YamlError>(&parsed)) {
    return invalid("is " + error->what);
  }
  YamlErrors errors;
  const YamlMap root(std::get_if<YamlNode>(&parsed), "", 1, errors);
  const YamlMap status = root.map("status");
  ExecCredential out{status.text("token"), status.text("clientCertificateData"), status.text("clientKeyData"), {}};
  const std::string expires = status.text("expirationTimestamp");
  if (!errors.empty()) {
    return invalid("cannot be used: " + errors.front().what);
  }
  if (root.text("kind") != "ExecCredential" || (out.token.empty() && out.certificate.empty())) {
    return invalid("contains no credentials");
  }
  if (out.certificate.empty() != out.key.empty()) {
    return invalid("contains a certificate without its key, or a key without its certificate");
  }
  if (out.token.find_first_of("\r\n") != std::string::npos) {
    return invalid("contains a token of more than one line");
  }
  if (!expires.empty()) {
    out.expires = parse_rfc3339(expires);
    if (!out.expires) {
      return invalid("has the expirationTimestamp " + shown(expires) + ", not a valid time");
    }
  }
  return out;
}

}  // namespace isthmus
