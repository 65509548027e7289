// Strong integer types: quantities of equal width that must not be mixed up.
// Owner: none, plain values. Threads: any. Byte order: host, unless the type says Be.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <functional>

namespace isthmus {

// An integer with a type of its own, distinguished by `Tag`. No implicit conversion either way.
template <typename Tag, typename Rep>
class Strong {
 public:
  using Value = Rep;
  constexpr Strong() noexcept = default;
  constexpr explicit Strong(Rep value) noexcept : value_(value) {}
  [[nodiscard]] constexpr Rep value() const noexcept { return value_; }
  friend constexpr auto operator<=>(Strong, Strong) noexcept = default;

 private:
  Rep value_{};
};

// Integers in network byte order as they lie in a packet. `of` converts from host order, `host` back.
template <typename Rep>
class BigEndian {
 public:
  constexpr BigEndian() noexcept = default;
  [[nodiscard]] static constexpr BigEndian of(Rep host) noexcept { return raw(swap(host)); }
  // `wire`: the bytes as loaded natively.
  [[nodiscard]] static constexpr BigEndian raw(Rep wire) noexcept {
    BigEndian b;
    b.wire_ = wire;
    return b;
  }
  [[nodiscard]] constexpr Rep host() const noexcept { return swap(wire_); }
  [[nodiscard]] constexpr Rep wire() const noexcept { return wire_; }
  friend constexpr bool operator==(BigEndian, BigEndian) noexcept = default;

 private:
  [[nodiscard]] static constexpr Rep swap(Rep v) noexcept {
    if constexpr (std::endian::native == std::endian::big) {
      return v;
    } else if constexpr (sizeof(Rep) == 2) {
      return __builtin_bswap16(v);
    } else if constexpr (sizeof(Rep) == 4) {
      return __builtin_bswap32(v);
    } else {
      static_assert(sizeof(Rep) == 8);
      return __builtin_bswap64(v);
    }
  }
  Rep wire_{};
};

using Be16 = BigEndian<std::uint16_t>;
using Be32 = BigEndian<std::uint32_t>;
static_assert(sizeof(Be16) == 2 && sizeof(Be32) == 4);

}  // namespace isthmus

template <typename Tag, typename Rep>
struct std::hash<isthmus::Strong<Tag, Rep>> {
  std::size_t operator()(isthmus::Strong<Tag, Rep> s) const noexcept { return std::hash<Rep>{}(s.value()); }
};
