#include "control/source/etcd/ip_scan.h"

#include <charconv>

namespace isthmus {
namespace {

class Scan {
 public:
  explicit Scan(std::string_view rest) : rest_(rest) {}

  [[nodiscard]] bool word(std::string_view expected) {
    if (!rest_.starts_with(expected)) {
      return false;
    }
    rest_.remove_prefix(expected.size());
    return true;
  }
  // Reads text without escapes, and the closing quote.
  [[nodiscard]] bool text(std::string& to) {
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '"') {
        to.assign(rest_.substr(0, i));
        rest_.remove_prefix(i + 1);
        return true;
      }
      if (c == '\\' || c < 0x20 || c == 0x7f) {  // also non-ASCII bytes, which are negative
        return false;
      }
    }
    return false;
  }
  [[nodiscard]] bool number(std::uint32_t& to) {
    const char* const end = rest_.data() + rest_.size();
    const auto [after, error] = std::from_chars(rest_.data(), end, to);
    // JSON has no leading zeroes; the next character must end the number.
    if (error != std::errc{} || (rest_.front() == '0' && after - rest_.data() > 1) || after == end ||
        (*after != ',' && *after != '}')) {
      return false;
    }
    rest_.remove_prefix(static_cast<std::size_t>(after - rest_.data()));
    return true;
  }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace

bool scan_ip_fields(std::string_view value, IpFields& fields) {
  Scan scan(value);
  std::string ignored;
  std::uint32_t key = 0;
  if (!scan.word(R"({"IP":")") || !scan.text(fields.ip) || !scan.word(R"(,"Mask":)")) {
    return false;
  }
  if (!scan.word("null") && !(scan.word("\"") && scan.text(fields.mask) && !fields.mask.empty())) {
    return false;
  }
  if (!scan.word(R"(,"HostIP":")") || !scan.text(fields.host) || !scan.word(R"(,"ID":)") ||
      !scan.number(fields.identity) || !scan.word(R"(,"Key":)") || !scan.number(key) || key > 255 ||
      !scan.word(R"(,"Metadata":")") || !scan.text(ignored)) {
    return false;
  }
  if (scan.word(R"(,"K8sNamespace":")") && !scan.text(fields.ns)) {
    return false;
  }
  if (scan.word(R"(,"K8sPodName":")") && !scan.text(fields.pod)) {
    return false;
  }
  if (scan.word(R"(,"K8sServiceAccount":")") && !scan.text(ignored)) {
    return false;
  }
  return scan.word("}") && scan.at_end();
}

}  // namespace isthmus
