// What is kept across restarts, from bytes to objects: nothing crashes, and what is read is written as it was read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/restore/codec.h"

using namespace isthmus;

namespace {

void require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto key = decode_key(bytes)) {
    require(decode_key(encode_key(*key)) == key);
  }
  if (const auto time = decode_time(bytes)) {
    require(decode_time(encode_time(*time)) == time);
  }
  if (const auto claims = decode_claims(bytes)) {
    require(decode_claims(encode_claims(*claims)) == claims);
  }
  if (const auto holder = decode_holder(bytes)) {
    require(decode_holder(encode_holder(*holder)) == holder);
  }
  if (const auto identity = decode_identity(bytes)) {
    require(decode_identity(encode_identity(*identity)) == identity);
  }
  for (unsigned kind = 0; kind <= static_cast<unsigned>(ObjectKind::kAgentConfig); ++kind) {
    if (const auto version = decode_version(bytes, static_cast<ObjectKind>(kind))) {
      const auto again =
          decode_version(encode_version(version->value, version->provenance), static_cast<ObjectKind>(kind));
      require(again && again->value == version->value);
    }
  }
  return 0;
}
