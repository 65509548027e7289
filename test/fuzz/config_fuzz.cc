// Parses arbitrary text as a configuration. Nothing may crash, every error has a line and a fix, and the two entry
// points agree.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "config/load/load.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto errors = isthmus::check_config(text, "fuzz.yaml");
  for (const isthmus::Error& error : errors) {
    if (error.what.empty() || error.fix.empty() || error.where.find("fuzz.yaml:") != 0 ||
        error.where == "fuzz.yaml:0") {
      __builtin_trap();
    }
  }
  const auto config = isthmus::parse_config(text, "fuzz.yaml");
  if (config.ok() != errors.empty() || (config.ok() && isthmus::describe(*config).empty())) {
    __builtin_trap();
  }
  return 0;
}
