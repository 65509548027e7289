#include "control/cli/table.h"

#include <algorithm>
#include <array>
#include <utility>

namespace isthmus {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// Bytes of the UTF-8 sequence at the start of `text`; 0 when it is not one.
std::size_t sequence_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  std::size_t length = 0;
  if (first < 0x80) {
    length = 1;
  } else if (first >= 0xc2 && first < 0xe0) {
    length = 2;
  } else if (first >= 0xe0 && first < 0xf0) {
    length = 3;
  } else if (first >= 0xf0 && first < 0xf5) {
    length = 4;
  }
  if (length == 0 || text.size() < length) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      return 0;
    }
  }
  return length;
}

bool is_control(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence.front());
  if (sequence.size() == 1) {
    return first < 0x20 || first == 0x7f;
  }
  // U+0080..U+009f, the C1 controls.
  return first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const std::string_view sequence = text.substr(0, std::max<std::size_t>(length, 1));
    result += length == 0 || is_control(sequence) ? kReplacement : sequence;
    text.remove_prefix(sequence.size());
  }
  return result;
}

std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) {
    cell = printable(cell);
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = width(columns_[i].name);
    for (const auto& row : rows_) {
      widest = std::max(widest, width(row[i]));
    }
    widths.push_back(widest);
  }
  std::string result;
  const auto add_line = [&](const auto& cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& cell = cell_of(i);
      const std::string space(widths[i] - width(cell), ' ');
      line += columns_[i].align == Align::kRight ? space + cell : cell + space;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + '\n';
  };
  add_line([&](std::size_t i) -> const std::string& { return columns_[i].name; });
  for (const auto& row : rows_) {
    add_line([&](std::size_t i) -> const std::string& { return row[i]; });
  }
  return result;
}

std::string duration_text(std::uint64_t milliseconds) {
  if (milliseconds < 1000) {
    return std::to_string(milliseconds) + "ms";
  }
  struct Unit {
    std::uint64_t seconds;
    char letter;
  };
  constexpr std::array<Unit, 4> kUnits{{{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}}};
  std::uint64_t seconds = milliseconds / 1000;
  std::string text;
  for (std::size_t i = 0, shown = 0; i < kUnits.size() && shown < 2; ++i) {
    const std::uint64_t count = seconds / kUnits[i].seconds;
    seconds %= kUnits[i].seconds;
    if (count > 0) {
      text += std::to_string(count) + kUnits[i].letter;
    }
    shown += count > 0 || shown > 0 ? 1 : 0;
  }
  return text;
}

std::string endpoint_text(const std::string& address, std::uint64_t port) {
  if (port == 0) {
    return address;
  }
  const bool bracket = address.find(':') != std::string::npos;
  return (bracket ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

}  // namespace isthmus
