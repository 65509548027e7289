#include "dataplane/flow/epoch_table.h"

#include <cstring>

#include "dataplane/flow/flow_key.h"

namespace isthmus {

EpochIndex EpochTable::index(std::uint64_t kind, std::uint64_t a, std::uint64_t b) noexcept {
  const std::uint64_t h = flow_hash::mix(a ^ 0x9e3779b97f4a7c15ULL, b ^ 0xd6e8feb86659fd93ULL ^ kind << 56);
  const std::uint64_t spread = flow_hash::mix(h, 0xa0761d6478bd642fULL) & 0xffffffff;
  return static_cast<EpochIndex>(1 + ((spread * (kWords - 1)) >> 32));
}

EpochIndex EpochTable::index(std::uint64_t kind, Realm realm, const IpAddress& address) noexcept {
  std::uint64_t words[2];
  std::memcpy(words, address.bytes().data(), sizeof words);
  return index(kind, words[0] ^ std::uint64_t{realm.value()} << 16, words[1]);
}

}  // namespace isthmus
