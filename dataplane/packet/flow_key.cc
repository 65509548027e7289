#include "dataplane/packet/flow_key.h"

#include <sys/random.h>

#include <chrono>
#include <cstring>

namespace isthmus {
namespace {

// One end of a key: address and port as one ordered value.
struct KeyEnd {
  std::uint64_t high, low, port;
};

KeyEnd end_of(const IpAddress& address, Be16 port) noexcept { return {address.word(0), address.word(1), port.wire()}; }

// The same from one half of an IPv4 key's address word.
KeyEnd ipv4_end_of(std::uint32_t wire, Be16 port) noexcept {
  constexpr std::uint64_t kMapped = 0xffff0000;  // the second half of ::ffff:0:0, as loaded
  return {0, kMapped | std::uint64_t{wire} << 32, port.wire()};
}

bool before(const KeyEnd& a, const KeyEnd& b) noexcept {
  if (a.high != b.high) {
    return a.high < b.high;
  }
  return a.low != b.low ? a.low < b.low : a.port < b.port;
}

}  // namespace

FlowHasher FlowHasher::random() noexcept {
  std::uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != static_cast<ssize_t>(sizeof seed)) {
    seed = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  return FlowHasher(seed);
}

std::uint32_t symmetric_hash(const FlowKey& key) noexcept {
  const bool ipv4 = key.family == Family::kIpv4;
  KeyEnd first =
      ipv4 ? ipv4_end_of(static_cast<std::uint32_t>(key.head), key.source_port) : end_of(key.source(), key.source_port);
  KeyEnd second = ipv4 ? ipv4_end_of(static_cast<std::uint32_t>(key.head >> 32), key.destination_port)
                       : end_of(key.destination(), key.destination_port);
  if (before(second, first)) {
    std::swap(first, second);
  }
  const std::uint64_t rest = first.port | second.port << 16 |
                             std::uint64_t{static_cast<std::uint8_t>(key.protocol)} << 32 |
                             std::uint64_t{key.realm.value()} << 40;
  const std::uint64_t a = flow_hash::mix(first.high ^ 0x243f6a8885a308d3ULL, first.low ^ 0x13198a2e03707344ULL);
  const std::uint64_t b = flow_hash::mix(second.high ^ 0xa4093822299f31d0ULL, second.low ^ 0x082efa98ec4e6c89ULL);
  const std::uint64_t h = flow_hash::mix(a ^ 0x452821e638d01377ULL, b ^ rest ^ 0xbe5466cf34e90c6cULL);
  return static_cast<std::uint32_t>(h ^ (h >> 32));
}

}  // namespace isthmus
