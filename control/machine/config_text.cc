#include "control/machine/config_text.h"

#include <algorithm>
#include <array>
#include <utility>

namespace isthmus {
namespace {

constexpr std::size_t kWidth = 110;

void add_comment(std::string& out, const std::string& indent, std::string_view text) {
  while (!text.empty()) {
    const std::size_t room = kWidth - indent.size() - 2;
    std::size_t end = text.size() <= room ? text.size() : text.rfind(' ', room);
    end = end == std::string_view::npos || end == 0 ? std::min(text.find(' '), text.size()) : end;
    out += indent + "# " + std::string(text.substr(0, end)) + "\n";
    text = text.substr(std::min(text.size(), end + 1));
  }
}

std::vector<std::string> sections_of(const std::string& key) {
  std::vector<std::string> sections;
  std::size_t from = 0;
  for (auto dot = key.find('.'); dot != std::string::npos; from = dot + 1, dot = key.find('.', from)) {
    sections.push_back(key.substr(from, dot - from));
  }
  return sections;
}

// Whether the section of `path`, as "hub.etcd.", has a value, or needs one.
bool has_values(const std::vector<ConfigLine>& lines, const std::string& path) {
  return std::any_of(lines.begin(), lines.end(), [&](const ConfigLine& line) {
    return line.kind != ConfigLine::Kind::kLeftOut && line.key.starts_with(path);
  });
}

}  // namespace

std::string yaml_scalar(std::string_view text) {
  constexpr std::array<std::string_view, 10> kWords = {"true", "false", "null", "yes", "no",
                                                       "on",   "off",   "y",    "n",   "~"};
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string small(text);
  std::transform(small.begin(), small.end(), small.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  const bool plain =
      !text.empty() && (letter(text.front()) || text.front() == '/') &&
      std::all_of(text.begin(), text.end(),
                  [&](char c) { return letter(c) || digit(c) || c == '-' || c == '_' || c == '.' || c == '/'; }) &&
      std::find(kWords.begin(), kWords.end(), small) == kWords.end();
  if (plain) {
    return std::string(text);
  }
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c == '\'' ? "''" : std::string(1, c);
  }
  return quoted + "'";
}

std::string config_text(const std::string& header, const std::vector<ConfigLine>& lines) {
  std::string out;
  add_comment(out, "", header);
  std::vector<std::string> open;
  for (const ConfigLine& line : lines) {
    const std::vector<std::string> sections = sections_of(line.key);
    const auto common = std::mismatch(open.begin(), open.end(), sections.begin(), sections.end()).first - open.begin();
    std::string path;
    bool commented = false;
    for (std::size_t i = 0; i < sections.size(); ++i) {
      path += sections[i] + ".";
      commented = commented || !has_values(lines, path);
      if (i >= static_cast<std::size_t>(common)) {
        out += std::string(2 * i, ' ') + (commented ? "# " : "") + sections[i] + ":\n";
      }
    }
    open = sections;
    const std::string indent(2 * sections.size(), ' ');
    const std::string name = line.key.substr(path.size());
    std::string text = indent + (line.kind == ConfigLine::Kind::kLeftOut ? "# " : "") + name + ":" +
                       (line.value.empty() ? "" : " " + line.value);
    constexpr std::size_t kColumn = 34;
    text += std::string(text.size() < kColumn ? kColumn - text.size() : 1, ' ');
    if (text.size() + line.why.size() + 2 <= kWidth) {
      out += text + "# " + line.why + "\n";
    } else {
      add_comment(out, indent, line.why);
      out += text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
    }
  }
  return out;
}

}  // namespace isthmus
