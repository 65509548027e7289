// A JSON object, read as Go's decoder does: absent and null are the zero value, a value of another type is an error.
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

// The first error in a value; empty: none so far.
using ValueError = std::string;

class JsonObject {
 public:
  // `object` may be null: the object is empty then. `path`: in front of keys in messages.
  JsonObject(const nlohmann::json* object, std::string path, ValueError& error);
  [[nodiscard]] std::string text(const char* key) const;
  [[nodiscard]] std::uint64_t number(const char* key, std::uint64_t max) const;
  [[nodiscard]] bool flag(const char* key) const;
  [[nodiscard]] std::optional<bool> optional_flag(const char* key) const;
  [[nodiscard]] JsonObject object(const char* key) const;
  [[nodiscard]] std::map<std::string, std::string> texts(const char* key) const;
  [[nodiscard]] std::vector<std::string> text_list(const char* key) const;
  void each(const char* key, const std::function<void(const nlohmann::json&, const std::string& path)>& visit) const;
  void each_member(const std::function<void(const std::string& key, const nlohmann::json&)>& visit) const;
  // Null when absent.
  [[nodiscard]] const nlohmann::json* get(const char* key) const;
  // Keeps the first error only.
  void add_error(const std::string& what) const;
  [[nodiscard]] bool present() const { return object_ != nullptr; }
  [[nodiscard]] ValueError& error() const { return error_; }
  [[nodiscard]] std::string path(const char* key) const { return path_ + key; }

 private:
  const nlohmann::json* object_;
  std::string path_;
  ValueError& error_;
};

// Nothing, and `error` set, if the text is not a JSON object.
[[nodiscard]] std::optional<nlohmann::json> parse_json_object(std::string_view text, ValueError& error);

// The error of a value that is not accepted.
[[nodiscard]] inline Error reject(std::string what) {
  return {std::move(what), {}, "the last valid value stays in force; fix or restart the component that publishes it"};
}
// Well-formed UTF-8 without control characters: safe to print and to send as JSON.
[[nodiscard]] bool is_plain_text(std::string_view text);

// TCP, UDP or SCTP.
[[nodiscard]] std::optional<IpProtocol> protocol_of(std::string_view text);
// True for protocols that a service can be balanced on.
[[nodiscard]] inline bool is_supported(IpProtocol protocol) {
  return protocol == IpProtocol::kTcp || protocol == IpProtocol::kUdp;
}

}  // namespace isthmus
