#include "dataplane/conntrack/epoch_table.h"

#include <cstring>

#include "dataplane/packet/flow_key.h"

namespace isthmus {
namespace {

// Words from kFirstEndpointWord on are used by endpoints, those below by services, policy subjects and peers.
constexpr std::size_t kFirstEndpointWord = EpochTable::kWords / 4;

// Hashes (a, b) to an index in [first, end).
EpochIndex spread(std::uint64_t a, std::uint64_t b, std::size_t first, std::size_t end) noexcept {
  const std::uint64_t mixed = flow_hash::mix(a ^ 0x9e3779b97f4a7c15ULL, b ^ 0xd6e8feb86659fd93ULL);
  const std::uint64_t even = flow_hash::mix(mixed, 0xa0761d6478bd642fULL) & 0xffffffff;
  return static_cast<EpochIndex>(first + ((even * (end - first)) >> 32));
}

}  // namespace

EpochIndex EpochTable::of_number(std::uint64_t kind, std::uint64_t number) noexcept {
  return spread(number, kind << 56, 1, kFirstEndpointWord);
}

EpochIndex EpochTable::of_endpoint(Realm realm, const IpAddress& address) noexcept {
  std::uint64_t words[2];
  std::memcpy(words, address.bytes().data(), sizeof words);
  return spread(words[0] ^ std::uint64_t{realm.value()} << 16, words[1], kFirstEndpointWord, kWords);
}

}  // namespace isthmus
