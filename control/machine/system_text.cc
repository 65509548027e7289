#include "control/machine/system_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

namespace isthmus {
namespace {

constexpr std::string_view kSpace = " \t\r";

// Calls `visit` with each line, without its end.
template <typename Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    visit(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = trimmed(text); !text.empty();) {
    const auto end = text.find_first_of(kSpace);
    words.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : trimmed(text.substr(end));
  }
  return words;
}

// All of `text` is the number.
template <typename Number>
std::optional<Number> whole_number(std::string_view text, int base = 10) {
  Number value{};
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value, base);
  return error == std::errc{} && end == last && !text.empty() ? std::optional(value) : std::nullopt;
}

// The first word behind "KEY:" at the start of a line.
std::optional<std::string_view> line_value(std::string_view text, std::string_view key) {
  std::optional<std::string_view> value;
  each_line(text, [&](std::string_view line) {
    if (!value && line.size() > key.size() && line.starts_with(key) && line[key.size()] == ':') {
      const auto words = words_of(line.substr(key.size() + 1));
      value = words.empty() ? std::string_view() : words.front();
    }
  });
  return value;
}

// "0100007F" or 32 digits: words of 32 bits, each as this machine has them in memory.
std::optional<IpAddress> kernel_address(std::string_view hex) {
  if (hex.size() != 8 && hex.size() != 32) {
    return std::nullopt;
  }
  IpAddress::ByteArray bytes{};
  for (std::size_t at = 0; at < hex.size(); at += 8) {
    const auto word = whole_number<std::uint32_t>(hex.substr(at, 8), 16);
    if (!word) {
      return std::nullopt;
    }
    std::memcpy(bytes.data() + at / 2, &*word, sizeof *word);
  }
  if (hex.size() == 8) {
    std::uint32_t wire = 0;
    std::memcpy(&wire, bytes.data(), sizeof wire);
    return IpAddress::ipv4(Be32::raw(wire));
  }
  return IpAddress(bytes);
}

}  // namespace

std::vector<int> read_cpu_list(std::string_view text) {
  std::vector<bool> named(kMostCpus);
  text = trimmed(text.substr(0, text.find('\n')));
  for (int parts = 0; parts < kMostCpus && !text.empty(); ++parts) {
    const auto comma = text.find(',');
    const std::string_view part = trimmed(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const auto dash = part.find('-');
    const auto first = whole_number<unsigned>(part.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : whole_number<unsigned>(part.substr(dash + 1));
    for (unsigned cpu = first.value_or(1); first && last && cpu <= *last && *last < named.size(); ++cpu) {
      named[cpu] = true;
    }
  }
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMostCpus; ++cpu) {
    if (named[static_cast<std::size_t>(cpu)]) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

std::string cpu_list_text(const std::vector<int>& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) {
      ++last;
    }
    text += (text.empty() ? "" : ",") + std::to_string(cpus[i]);
    if (last > i) {
      text += "-" + std::to_string(cpus[last]);
    }
    i = last;
  }
  return text;
}

std::optional<std::uint64_t> read_line_number(std::string_view text, std::string_view key) {
  const auto value = line_value(text, key);
  return value ? whole_number<std::uint64_t>(*value) : std::nullopt;
}

std::optional<std::uint64_t> read_line_mask(std::string_view text, std::string_view key) {
  const auto value = line_value(text, key);
  return value ? whole_number<std::uint64_t>(*value, 16) : std::nullopt;
}

std::optional<KernelVersion> read_kernel_version(std::string_view release) {
  const auto dot = release.find('.');
  if (dot == std::string_view::npos) {
    return std::nullopt;
  }
  const auto rest = release.substr(dot + 1);
  const auto major = whole_number<unsigned>(release.substr(0, dot));
  const auto minor = whole_number<unsigned>(rest.substr(0, rest.find_first_not_of("0123456789")));
  return major && minor ? std::optional(KernelVersion{*major, *minor}) : std::nullopt;
}

std::optional<double> read_cpu_quota(std::string_view text) {
  const auto words = words_of(text.substr(0, text.find('\n')));
  if (words.size() != 2) {
    return std::nullopt;
  }
  const auto quota = whole_number<std::uint64_t>(words[0]), period = whole_number<std::uint64_t>(words[1]);
  return quota && period && *period != 0 ? std::optional(static_cast<double>(*quota) / static_cast<double>(*period))
                                         : std::nullopt;
}

std::optional<std::uint64_t> read_memory_limit(std::string_view text) {
  return whole_number<std::uint64_t>(trimmed(text.substr(0, text.find('\n'))));
}

std::vector<unsigned> read_interrupts(std::string_view text, std::string_view interface, std::string_view bus) {
  std::vector<unsigned> numbers;
  each_line(text, [&](std::string_view line) {
    const auto colon = line.find(':');
    const auto number = whole_number<unsigned>(trimmed(line.substr(0, colon)));
    if (colon == std::string_view::npos || !number) {
      return;
    }
    const auto words = words_of(line.substr(colon + 1));
    const bool ours = std::any_of(words.begin(), words.end(), [&](std::string_view word) {
      if (!interface.empty() && word.starts_with(interface)) {
        return word.size() == interface.size() || word[interface.size()] == '-';
      }
      const auto at = word.find('@');
      return !bus.empty() && at != std::string_view::npos && word.substr(at + 1).ends_with(bus);
    });
    if (ours) {
      numbers.push_back(*number);
    }
  });
  return numbers;
}

std::vector<KernelSocket> read_sockets(std::string_view text) {
  std::vector<KernelSocket> sockets;
  each_line(text, [&](std::string_view line) {
    const auto words = words_of(line);
    if (words.size() < 4 || !words[0].ends_with(':')) {
      return;
    }
    const auto colon = words[1].find(':');
    if (colon == std::string_view::npos) {
      return;
    }
    const auto address = kernel_address(words[1].substr(0, colon));
    const auto port = whole_number<std::uint16_t>(words[1].substr(colon + 1), 16);
    if (address && port) {
      sockets.push_back({*address, L4Port{*port}, words[3] == "0A"});
    }
  });
  return sockets;
}

std::string unit_of(std::string_view config_file) {
  constexpr std::string_view kFolder = "/etc/isthmus/", kEnding = ".yaml";
  if (!config_file.starts_with(kFolder) || !config_file.ends_with(kEnding) ||
      config_file.size() <= kFolder.size() + kEnding.size()) {
    return "isthmus.service";
  }
  const std::string_view name =
      config_file.substr(kFolder.size(), config_file.size() - kFolder.size() - kEnding.size());
  return name == "gateway" || name.find('/') != std::string_view::npos ? "isthmus.service"
                                                                       : "isthmus@" + std::string(name) + ".service";
}

std::uint64_t read_capabilities(std::string_view lines, std::uint64_t initial) {
  // Numbers of linux/capability.h, and one for all others.
  constexpr std::array kNames = {std::pair{"cap_net_admin", 12}, std::pair{"cap_net_raw", 13},
                                 std::pair{"cap_ipc_lock", 14},  std::pair{"cap_sys_admin", 21},
                                 std::pair{"cap_perfmon", 38},   std::pair{"cap_bpf", 39}};
  constexpr unsigned kOther = 63;
  std::uint64_t set = initial;
  for (bool more = true; more;) {
    const auto end = lines.find('\n');
    std::string_view line = trimmed(lines.substr(0, end));
    more = end != std::string_view::npos;
    lines = more ? lines.substr(end + 1) : std::string_view();
    const bool all_but = line.starts_with('~');
    std::uint64_t named = 0;
    for (const std::string_view word : words_of(line.substr(all_but ? 1 : 0))) {
      const bool quoted =
          word.size() > 1 && (word.front() == '"' || word.front() == '\'') && word.back() == word.front();
      std::string small(quoted ? word.substr(1, word.size() - 2) : word);
      std::transform(small.begin(), small.end(), small.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
      const auto at = std::find_if(kNames.begin(), kNames.end(), [&](const auto& each) { return each.first == small; });
      named |= std::uint64_t{1} << (at == kNames.end() ? kOther : static_cast<unsigned>(at->second));
    }
    if (named == 0 || set == initial) {
      set = all_but ? ~named : named;
    } else {
      set = all_but ? set & ~named : set | named;
    }
  }
  return set;
}

std::map<std::string, std::string> read_service_section(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> values;
  for (const std::string& text : texts) {
    bool service = false;
    std::string begun;  // by lines that end with a backslash
    each_line(text, [&](std::string_view part) {
      part = trimmed(part);
      if (part.starts_with('#') || part.starts_with(';')) {
        return;
      }
      const bool goes_on = part.ends_with('\\');
      begun += goes_on ? std::string(part.substr(0, part.size() - 1)) + " " : std::string(part);
      if (goes_on) {
        return;
      }
      const std::string whole = std::exchange(begun, {});
      const std::string_view line = trimmed(whole);
      if (line.starts_with('[')) {
        service = line == "[Service]";
        return;
      }
      const auto equals = line.find('=');
      const std::string key(trimmed(line.substr(0, equals)));
      if (!service || equals == std::string_view::npos || key.empty()) {
        return;
      }
      const std::string_view value = trimmed(line.substr(equals + 1));
      const bool list = key == "CapabilityBoundingSet" || key == "AmbientCapabilities";
      const auto [now, first] = values.try_emplace(key, value);
      if (!first) {
        now->second = list ? now->second + "\n" + std::string(value) : std::string(value);
      }
    });
  }
  return values;
}

}  // namespace isthmus
