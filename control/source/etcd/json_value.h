// A JSON object as Go's decoder reads it: absent and null are nothing, another type than asked for is a fault.
// Internal to this folder. Thread: any; plain values.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/api/types.h"

namespace isthmus {

// The first thing that is wrong with a value; empty: nothing so far.
using ValueFault = std::string;

class JsonObject {
 public:
  // `object` may be null: then nothing is in it.
  JsonObject(const nlohmann::json* object, std::string path, ValueFault& fault);
  [[nodiscard]] std::string text(const char* key) const;
  [[nodiscard]] std::uint64_t number(const char* key, std::uint64_t most) const;
  [[nodiscard]] bool flag(const char* key) const;
  [[nodiscard]] std::optional<bool> optional_flag(const char* key) const;
  [[nodiscard]] JsonObject object(const char* key) const;
  [[nodiscard]] std::map<std::string, std::string> texts(const char* key) const;
  [[nodiscard]] std::vector<std::string> text_list(const char* key) const;
  void each(const char* key, const std::function<void(const nlohmann::json&, const std::string& path)>& visit) const;
  void each_member(const std::function<void(const std::string& key, const nlohmann::json&)>& visit) const;
  // Null when absent.
  [[nodiscard]] const nlohmann::json* get(const char* key) const;
  void complain(const std::string& what) const;
  [[nodiscard]] bool present() const { return object_ != nullptr; }
  [[nodiscard]] ValueFault& fault() const { return fault_; }
  [[nodiscard]] std::string path(const char* key) const { return path_ + key; }

 private:
  const nlohmann::json* object_;
  std::string path_;
  ValueFault& fault_;
};

// Nothing, with a fault, when the text is not a JSON object.
[[nodiscard]] std::optional<nlohmann::json> parse_json_object(std::string_view text, ValueFault& fault);

[[nodiscard]] inline Error refusal(std::string what) {
  return {std::move(what), {}, "the last good value stays in force; mend or restart what publishes it"};
}
// Well-formed UTF-8 without control characters: fit to be shown and to be sent as JSON.
[[nodiscard]] bool is_plain_text(std::string_view text);
// Seconds since 1970 of an RFC 3339 time.
[[nodiscard]] std::optional<std::int64_t> parse_rfc3339(const std::string& text);

// TCP, UDP, SCTP; nothing for others.
[[nodiscard]] std::optional<IpProtocol> protocol_of(std::string_view text);
// Those that a ServicePort of ours may have.
[[nodiscard]] inline bool is_balanced(IpProtocol protocol) {
  return protocol == IpProtocol::kTcp || protocol == IpProtocol::kUdp;
}

}  // namespace isthmus
