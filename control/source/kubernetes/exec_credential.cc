#include "control/source/kubernetes/exec_credential.h"

#include <utility>

#include "config/yaml/json.h"
#include "config/yaml/read.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {

Result<ExecCredential> read_exec_credential(std::string_view text) {
  const auto wrong = [](std::string what) {
    return Error{"the credential program's output " + std::move(what), "",
                 "it must print an ExecCredential object of client.authentication.k8s.io"};
  };
  auto parsed = parse_json(text);
  if (const auto* fault = std::get_if<YamlFault>(&parsed)) {
    return wrong("is " + fault->what);
  }
  YamlFaults faults;
  const YamlMap root(std::get_if<YamlNode>(&parsed), "", 1, faults);
  const YamlMap status = root.map("status");
  ExecCredential out{status.text("token"), status.text("clientCertificateData"), status.text("clientKeyData"), {}};
  const std::string expires = status.text("expirationTimestamp");
  if (!faults.empty()) {
    return wrong("cannot be used: " + faults.front().what);
  }
  if (root.text("kind") != "ExecCredential" || (out.token.empty() && out.certificate.empty())) {
    return wrong("holds no credentials");
  }
  if (out.certificate.empty() != out.key.empty()) {
    return wrong("holds a certificate without its key, or a key alone");
  }
  if (out.token.find_first_of("\r\n") != std::string::npos) {
    return wrong("holds a token of more than one line");
  }
  if (!expires.empty()) {
    out.expires = parse_rfc3339(expires);
    if (!out.expires) {
      return wrong("has the expirationTimestamp " + shown(expires) + ", not a time");
    }
  }
  return out;
}

}  // namespace isthmus
