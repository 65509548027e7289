// Tables for people: aligned columns, two spaces between them, no frames. Control characters, which manifests may hold,
// never reach the terminal. Plain value, any thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace isthmus {

enum class Align : std::uint8_t { kLeft, kRight };

class Table {
 public:
  struct Column {
    std::string name;
    Align align = Align::kLeft;
  };
  explicit Table(std::initializer_list<Column> columns) : columns_(columns) {}
  // As many cells as there are columns; missing ones are empty.
  void add(std::vector<std::string> cells);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  // The header and one line per row, each with its line end. No trailing spaces.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// `text` with control characters (and bytes that are not UTF-8) replaced.
[[nodiscard]] std::string printable(std::string_view text);
// Characters, not bytes, of printable UTF-8.
[[nodiscard]] std::size_t width(std::string_view text);
// "350ms", "12s", "3m12s", "2h5m", "4d3h": the two largest units.
[[nodiscard]] std::string duration_text(std::uint64_t milliseconds);
// "10.1.0.1:80", "[fd00::1]:80"; the address alone when the port is 0.
[[nodiscard]] std::string endpoint_text(const std::string& address, std::uint64_t port);

}  // namespace isthmus
