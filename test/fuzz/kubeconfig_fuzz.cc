// Parses arbitrary text as a kubeconfig file and as the output of a credential program. The result is either complete
// and consistent, or an error with what, where and fix.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/yaml/base64.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/exec_credential.h"

namespace {

using namespace isthmus;

void require(bool condition) {
  if (!condition) {
    __builtin_trap();
  }
}

bool one_line(const std::string& text) { return text.find_first_of("\r\n") == std::string::npos; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const char* context : {"", "there"}) {
    const auto access = read_kubeconfig({{"/etc/kube/config", text}, {"/etc/kube/more", text}}, context);
    if (!access) {
      require(!access.error().what.empty() && !access.error().where.empty() && !access.error().fix.empty());
      continue;
    }
    require(!access->url.host.empty() && !access->url.port.empty() && one_line(access->url.path));
    require(one_line(access->token) && one_line(access->username) && one_line(access->password));
    require(access->client_certificate.empty() == access->client_key.empty());
    require(!access->exec || !access->exec->command.empty());
  }
  if (const auto credential = read_exec_credential(text)) {
    require(one_line(credential->token) && (!credential->token.empty() || !credential->certificate.empty()));
  }
  if (const auto decoded = decode_base64(text)) {
    require(decode_base64(encode_base64(*decoded)) == *decoded);
  }
  return 0;
}
