// How many ICMP errors pass that are about connections which we do not know (stray_error.cc), copies for other gateways
// among them. The limits are those of the errors that we originate: for each kind, peer, and /24 or /64. They are for
// who reports, by the error's own source: what it quotes is of its making. Nodes have limits apart from those of
// endpoints, which report only of themselves, so that no pod can silence its node; and a prefix has its share for each
// of the other clusters that its errors concern, so that none that sends what causes errors takes it from others.
// Thread: its worker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "dataplane/api/types.h"
#include "dataplane/base/mix.h"
#include "dataplane/base/rate_limit.h"
#include "dataplane/net/address_hash.h"
#include "dataplane/packet/parse.h"

namespace isthmus {

class StrayLimits {
 public:
  explicit StrayLimits(std::uint32_t per_second) : of_endpoints_(per_second), of_nodes_(per_second) {}

  // For an error, or a copy of one, whose IP header still is as it came, and whose reporter is one that may report.
  // `other`: the cluster that it comes from or, if that is our own, goes to.
  [[nodiscard]] bool take(const Packet& packet, ClusterId other, std::uint64_t now_ns) noexcept {
    const IpAddress reporter = sender_of(packet);
    Kinds& kinds = reporter == packet.key.source() ? of_endpoints_ : of_nodes_;
    const std::uint64_t prefix = folded_product(prefix_hash(packet.key.realm, reporter) ^ other.value(), kMix);
    const std::uint64_t sender = packet.origin.side() == Side::kFabric ? packet.origin.peer().value() : prefix;
    return kinds.limits[kind_of(packet)].take(sender, prefix, now_ns);
  }

 private:
  static constexpr std::uint64_t kMix = 0x9e3779b97f4a7c15;  // so that clusters' numbers are in all bits
  struct Kinds {
    explicit Kinds(std::uint32_t per_second)
        : limits{ErrorLimits(per_second), ErrorLimits(per_second), ErrorLimits(per_second)} {}
    std::array<ErrorLimits, 3> limits;  // of what path MTU discovery needs; of what traces need; of all others
  };
  [[nodiscard]] static std::size_t kind_of(const Packet& packet) noexcept {
    const auto* icmp = net::at<net::Icmp>(packet.l4);
    const bool v4 = packet.family == Family::kIpv4;
    if (v4 ? icmp->type == net::icmp4::kUnreachable && icmp->code == net::icmp4::kCodeFragmentationNeeded
           : icmp->type == net::icmp6::kPacketTooBig) {
      return 0;
    }
    return icmp->type == (v4 ? net::icmp4::kTimeExceeded : net::icmp6::kTimeExceeded) ? 1 : 2;
  }

  Kinds of_endpoints_, of_nodes_;
};

}  // namespace isthmus
