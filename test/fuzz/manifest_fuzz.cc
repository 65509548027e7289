// Parses arbitrary text as a manifest of a cluster and of the fleet. Nothing may crash, every error has a fix and a
// line within the text, every object has a value and a name, and a bad version of a file removes no objects.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "control/source/file/hub_objects.h"
#include "control/source/manifest/manifest.h"

namespace {

using namespace isthmus;

void require(bool condition) {
  if (!condition) {
    __builtin_trap();
  }
}

void check(const Manifest& manifest, std::string_view text) {
  const auto lines = static_cast<unsigned>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const auto& entry : manifest.documents) {
    for (const YamlError& error : entry.document->errors) {
      require(!error.what.empty() && !error.fix.empty());
      require(error.line > 0 && entry.line_in_file(error.line) <= lines);
    }
    for (const ManifestObject& object : entry.document->objects) {
      require(object.value != nullptr && !object.key.object.name.empty());
      require(entry.line_in_file(object.line) <= lines);
    }
  }
}

// Appends an unreadable document: the objects of the file stay, and removing it again changes nothing.
void check_nothing_is_lost(const std::string& cluster, std::string_view text) {
  HubObjects hub;
  hub.set_text("file", cluster, text);
  const std::size_t objects = hub.take_deltas().size();
  require(objects == hub.counts().objects);
  hub.set_text("file", cluster, std::string(text) + "\n---\n{");
  require(hub.take_deltas().empty());
  require(hub.counts().objects == objects && !hub.problems().empty());
  hub.set_text("file", cluster, text);
  require(hub.take_deltas().empty());
  hub.remove("file");
  require(hub.take_deltas().size() == objects && hub.counts().objects == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* cluster : {"", "east"}) {
    check(parse_manifest(text, cluster), text);
    check_nothing_is_lost(cluster, text);
  }
  return 0;
}
