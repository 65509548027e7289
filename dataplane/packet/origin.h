// Where a packet came from, as one word: from the local side, or from a peer's tunnel with a VNI. A cached decision
// holds for one origin, so that one comparison checks side, peer and VNI. Plain value.
#pragma once

#include <cstdint>

#include "dataplane/base/types.h"

namespace isthmus {

class Origin {
 public:
  constexpr Origin() noexcept = default;  // the local side
  constexpr Origin(PeerId peer, Vni vni) noexcept
      : word_(kFabric | std::uint64_t{vni.value()} << kVniShift | peer.value()) {}

  // Outside a tunnel: from the local side, unless the source belongs to a cluster with native routing, which only what
  // arrives on the underlay device may say of itself.
  [[nodiscard]] static constexpr Origin plain(bool on_underlay) noexcept {
    Origin origin;
    origin.word_ = on_underlay ? kOnUnderlay : 0;
    return origin;
  }
  // The origin of no packet.
  [[nodiscard]] static constexpr Origin none() noexcept {
    Origin origin;
    origin.word_ = ~std::uint64_t{0};
    return origin;
  }

  [[nodiscard]] constexpr Side side() const noexcept { return (word_ & kFabric) != 0 ? Side::kFabric : Side::kLocal; }
  // Outside a tunnel, on the underlay device.
  [[nodiscard]] constexpr bool on_underlay() const noexcept { return (word_ & (kFabric | kOnUnderlay)) == kOnUnderlay; }
  // kNoPeer and 0 for the local side.
  [[nodiscard]] constexpr PeerId peer() const noexcept { return PeerId{static_cast<std::uint32_t>(word_)}; }
  [[nodiscard]] constexpr Vni vni() const noexcept {
    return Vni{static_cast<std::uint32_t>(word_ >> kVniShift) & 0xffffff};
  }
  // All of it, as a number.
  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }
  friend constexpr bool operator==(Origin, Origin) noexcept = default;

 private:
  static constexpr unsigned kVniShift = 32;
  static constexpr std::uint64_t kFabric = std::uint64_t{1} << 63, kOnUnderlay = std::uint64_t{1} << 62;
  std::uint64_t word_ = 0;
};
static_assert(sizeof(Origin) == 8);

}  // namespace isthmus
