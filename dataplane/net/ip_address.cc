#include "dataplane/net/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace isthmus {
namespace {

// Clears (or with `ones`, sets) every bit of the 128-bit form after the first `length128`.
IpAddress with_host_bits(const IpAddress& a, unsigned length128, bool ones) {
  IpAddress::ByteArray b = a.bytes();
  for (unsigned bit = length128; bit < 128; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80u >> (bit % 8));
    b[bit / 8] = static_cast<std::uint8_t>(ones ? b[bit / 8] | mask : b[bit / 8] & ~mask);
  }
  return IpAddress(b);
}

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN + 1];
  if (text.empty() || text.size() >= sizeof buffer) {
    return std::nullopt;
  }
  *std::copy(text.begin(), text.end(), buffer) = '\0';
  if (text.find(':') == std::string_view::npos) {
    in_addr v4{};
    if (inet_pton(AF_INET, buffer, &v4) != 1) {
      return std::nullopt;
    }
    return ipv4(Be32::raw(v4.s_addr));
  }
  ByteArray bytes{};
  if (inet_pton(AF_INET6, buffer, bytes.data()) != 1) {
    return std::nullopt;
  }
  return IpAddress(bytes);
}

std::string IpAddress::to_string() const {
  char buffer[INET6_ADDRSTRLEN];
  const bool v4 = is_ipv4();
  const void* source = v4 ? bytes_.data() + 12 : bytes_.data();
  return inet_ntop(v4 ? AF_INET : AF_INET6, source, buffer, sizeof buffer) != nullptr ? buffer : "";
}

Prefix::Prefix(const IpAddress& address, std::uint8_t length) noexcept
    : address_(address), length_(std::min<std::uint8_t>(length, address.is_ipv4() ? 32 : 128)) {
  address_ = with_host_bits(address, length128(), false);
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) {
    return std::nullopt;
  }
  const unsigned max_length = address->is_ipv4() ? 32 : 128;
  if (slash == std::string_view::npos) {
    return Prefix(*address, static_cast<std::uint8_t>(max_length));
  }
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  const bool leading_zero = digits.size() > 1 && digits.front() == '0';
  if (digits.empty() || leading_zero || error != std::errc{} || end != digits.data() + digits.size() ||
      length > max_length) {
    return std::nullopt;
  }
  return Prefix(*address, static_cast<std::uint8_t>(length));
}

bool Prefix::contains(const IpAddress& a) const noexcept {
  const unsigned bits = length128();
  if (std::memcmp(a.bytes().data(), address_.bytes().data(), bits / 8) != 0) {
    return false;
  }
  if (bits % 8 == 0) {
    return true;
  }
  const auto mask = static_cast<std::uint8_t>(0xff00u >> (bits % 8));
  return ((a.bytes()[bits / 8] ^ address_.bytes()[bits / 8]) & mask) == 0;
}

IpAddress Prefix::last() const noexcept { return with_host_bits(address_, length128(), true); }

std::string Prefix::to_string() const { return address_.to_string() + "/" + std::to_string(length_); }

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
  if (text.size() != 17) {
    return std::nullopt;
  }
  MacAddress mac;
  for (unsigned i = 0; i < 6; ++i) {
    const char* first = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(first, first + 2, mac.bytes[i], 16);
    if (error != std::errc{} || end != first + 2 || (i < 5 && first[2] != ':')) {
      return std::nullopt;
    }
  }
  return mac;
}

std::string MacAddress::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
                bytes[5]);
  return text;
}

}  // namespace isthmus
