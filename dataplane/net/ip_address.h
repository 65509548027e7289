// IpAddress: one 128-bit form for both families; IPv4 is stored as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
// Plain value, any thread. Bytes are in network byte order.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/base/types.h"

namespace isthmus {

class IpAddress {
 public:
  using ByteArray = std::array<std::uint8_t, 16>;

  constexpr IpAddress() noexcept = default;
  constexpr explicit IpAddress(const ByteArray& bytes) noexcept : bytes_(bytes) {}

  [[nodiscard]] static IpAddress ipv4(Be32 address) noexcept {
    IpAddress a = mapped_base();
    const std::uint32_t wire = address.wire();
    std::memcpy(a.bytes_.data() + 12, &wire, 4);
    return a;
  }
  // `bytes` points to the 16 bytes of an address in an IPv6 header.
  [[nodiscard]] static IpAddress ipv6(const std::uint8_t* bytes) noexcept {
    IpAddress a;
    std::memcpy(a.bytes_.data(), bytes, 16);
    return a;
  }
  // Text of either family ("10.1.2.3", "fd00::1"); nullopt for anything else.
  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);

  [[nodiscard]] bool is_ipv4() const noexcept {
    return word(0) == 0 && static_cast<std::uint32_t>(word(1)) == 0xffff0000;
  }
  [[nodiscard]] Family family() const noexcept { return is_ipv4() ? Family::kIpv4 : Family::kIpv6; }
  // Precondition: is_ipv4().
  [[nodiscard]] Be32 as_ipv4() const noexcept {
    std::uint32_t wire = 0;
    std::memcpy(&wire, bytes_.data() + 12, 4);
    return Be32::raw(wire);
  }
  [[nodiscard]] const ByteArray& bytes() const noexcept { return bytes_; }
  // The two halves as loaded from memory.
  [[nodiscard]] static IpAddress from_words(std::uint64_t first, std::uint64_t second) noexcept {
    IpAddress a;
    std::memcpy(a.bytes_.data(), &first, sizeof first);
    std::memcpy(a.bytes_.data() + 8, &second, sizeof second);
    return a;
  }
  [[nodiscard]] std::uint64_t word(std::size_t index) const noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes_.data() + 8 * index, sizeof word);
    return word;
  }
  [[nodiscard]] bool is_unspecified() const noexcept { return *this == IpAddress{} || *this == mapped_base(); }
  [[nodiscard]] bool is_multicast() const noexcept {
    return is_ipv4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
  }
  // Canonical text (RFC 5952 for IPv6).
  [[nodiscard]] std::string to_string() const;

  // Two words instead of a memcmp call: tables compare addresses per packet.
  friend bool operator==(const IpAddress& a, const IpAddress& b) noexcept {
    return ((a.word(0) ^ b.word(0)) | (a.word(1) ^ b.word(1))) == 0;
  }
  friend std::strong_ordering operator<=>(const IpAddress& a, const IpAddress& b) noexcept {
    const std::uint64_t high_a = __builtin_bswap64(a.word(0)), high_b = __builtin_bswap64(b.word(0));
    return high_a != high_b ? high_a <=> high_b : __builtin_bswap64(a.word(1)) <=> __builtin_bswap64(b.word(1));
  }

 private:
  static_assert(std::endian::native == std::endian::little);
  [[nodiscard]] static constexpr IpAddress mapped_base() noexcept {
    return IpAddress(ByteArray{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0});
  }
  ByteArray bytes_{};
};
static_assert(sizeof(IpAddress) == 16);

// A prefix. `length` is relative to its family: 0..32 or 0..128. Host bits are zero.
class Prefix {
 public:
  Prefix() noexcept = default;
  // Clears the host bits of `address`; clamps the length to the family's maximum.
  Prefix(const IpAddress& address, std::uint8_t length) noexcept;
  // "10.1.0.0/16"; a bare address is a host prefix. nullopt for anything else.
  [[nodiscard]] static std::optional<Prefix> parse(std::string_view text);

  [[nodiscard]] const IpAddress& address() const noexcept { return address_; }
  [[nodiscard]] std::uint8_t length() const noexcept { return length_; }
  [[nodiscard]] Family family() const noexcept { return address_.family(); }
  // Length in the 128-bit form (IPv4: 96 + length).
  [[nodiscard]] std::uint8_t length128() const noexcept {
    return static_cast<std::uint8_t>(length_ + (address_.is_ipv4() ? 96 : 0));
  }
  [[nodiscard]] bool contains(const IpAddress& a) const noexcept;
  [[nodiscard]] bool contains(const Prefix& p) const noexcept {
    return p.length128() >= length128() && contains(p.address_);
  }
  // The last address of the prefix.
  [[nodiscard]] IpAddress last() const noexcept;
  [[nodiscard]] std::string to_string() const;

  friend auto operator<=>(const Prefix&, const Prefix&) noexcept = default;

 private:
  IpAddress address_;
  std::uint8_t length_ = 0;
};

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};
  // "02:00:00:00:00:01"; nullopt for anything else.
  [[nodiscard]] static std::optional<MacAddress> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  friend constexpr auto operator<=>(const MacAddress&, const MacAddress&) noexcept = default;
};

}  // namespace isthmus

template <>
struct std::hash<isthmus::IpAddress> {
  std::size_t operator()(const isthmus::IpAddress& a) const noexcept {
    std::uint64_t w[2];
    std::memcpy(w, a.bytes().data(), 16);
    return static_cast<std::size_t>((w[0] ^ 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL ^
                                    (w[1] + 0x632be59bd9b4e019ULL) * 0xc4ceb9fe1a85ec53ULL);
  }
};
