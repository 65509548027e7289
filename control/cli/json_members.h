// Members of the gateway's answers, and lines of "name  value", for the views. A member that is missing or of another
// type reads as empty: a newer or older gateway may answer. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/cli/table.h"
#include "dataplane/api/types.h"

namespace isthmus::json_members {

using nlohmann::json;

inline std::string text_of(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}
inline std::uint64_t number_of(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}
inline std::string count_of(const json& object, const char* key) { return std::to_string(number_of(object, key)); }
inline bool is_set(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() && it->get<bool>();
}
inline const json& member(const json& object, const char* key) {
  static const json kNothing = json::object();
  const auto it = object.find(key);
  return it != object.end() && it->is_object() ? *it : kNothing;
}
// The elements of a list that are objects.
inline std::vector<const json*> list_of(const json& object, const char* key) {
  std::vector<const json*> rows;
  const auto it = object.find(key);
  if (it != object.end() && it->is_array()) {
    for (const json& row : *it) {
      if (row.is_object()) {
        rows.push_back(&row);
      }
    }
  }
  return rows;
}

inline std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

inline void add_fact(std::string& text, std::string_view name, const std::string& fact) {
  constexpr std::size_t kNameWidth = 13;
  text += std::string(name) + std::string(kNameWidth - name.size(), ' ') + printable(fact) + '\n';
}

}  // namespace isthmus::json_members

namespace isthmus {

using json_members::is_set;
using json_members::member;
using json_members::number_of;
using json_members::text_of;

[[nodiscard]] Error not_an_answer();
// Ok when the gateway answered; else the error it sent, safe to print.
[[nodiscard]] Status check_answer(const nlohmann::json& document);

}  // namespace isthmus
