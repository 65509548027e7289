#include "xdp/loader/libbpf_messages.h"

#include <cstdarg>
#include <cstdio>

namespace isthmus {
namespace {

std::mutex g_mutex;
std::string& text() {
  static std::string instance;
  return instance;
}

__attribute__((format(printf, 2, 0))) int capture(libbpf_print_level level, const char* format, va_list values) {
  if (level == LIBBPF_WARN) {
    char line[512];
    std::vsnprintf(line, sizeof line, format, values);
    text() += line;
  }
  return 0;
}

}  // namespace

LibbpfMessages::LibbpfMessages() : lock_(g_mutex), previous_(libbpf_set_print(&capture)) { text().clear(); }
LibbpfMessages::~LibbpfMessages() { libbpf_set_print(previous_); }

std::string LibbpfMessages::last_line() const {
  std::string line = text();
  line.erase(line.find_last_not_of('\n') + 1);
  if (const auto object = line.find("\nlibbpf: failed to load object"); object != std::string::npos) {
    line.erase(object);  // says less than what is before it
  }
  line.erase(0, line.find_last_of('\n') + 1);
  for (const std::string prefix : {"libbpf: ", "Kernel error message: "}) {
    if (line.starts_with(prefix)) {
      line.erase(0, prefix.size());
    }
  }
  return line;
}

}  // namespace isthmus
