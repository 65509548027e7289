// How an enumerator is written, in the configuration and in answers. Plain values; a table of them lists each
// enumerator once. Failure: the name of a value that is not in the table is empty.
#pragma once

#include <algorithm>
#include <string_view>

namespace isthmus {

template <typename Enum>
struct EnumName {
  std::string_view name;
  Enum value;
};

template <typename Table, typename Enum>
[[nodiscard]] constexpr std::string_view name_in(const Table& names, Enum value) {
  const auto row = std::find_if(names.begin(), names.end(), [&](const auto& one) { return one.value == value; });
  return row == names.end() ? std::string_view() : row->name;
}

}  // namespace isthmus
