#include "dataplane/conntrack/holders.h"

#include <algorithm>
#include <cstring>

#include "dataplane/base/mix.h"

namespace isthmus {

Holders::Holders() : secrets_{}, words_(std::make_unique<std::atomic<std::uint64_t>[]>(kNumbers)) {
  std::generate(secrets_.begin(), secrets_.end(), random_word);
}

// 1 .. kNumbers - 1
std::uint16_t Holders::number_of(const IpAddress& address, std::uint64_t kind) const noexcept {
  std::uint64_t w[2];
  std::memcpy(w, address.bytes().data(), sizeof w);
  const std::uint64_t hash = flow_hash::mix(w[0] ^ secrets_[0], w[1] ^ secrets_[1] ^ kind);
  return static_cast<std::uint16_t>(1 + (hash >> 32) % (kNumbers - 1));
}

Holder Holders::holder_of(const FlowKey& opening, Side from, const IpAddress& peer, ClusterId cluster,
                          bool vouched) const noexcept {
  std::uint16_t number = 0;
  if (from == Side::kFabric) {
    number =
        cluster != kNoCluster ? number_of(IpAddress{}, secrets_[2] + cluster.value()) : number_of(peer, secrets_[2]);
  }
  if (vouched) [[unlikely]] {
    return {number_of(opening.source(), opening.realm.value() + (std::uint64_t{number} << 16)), number};
  }
  return {source_of(opening.realm, opening.source()), number};
}

}  // namespace isthmus
