// DSR (direct server return) by Cilium's Geneve option: a load balancer forwards a client's packet to the backend as it
// is but for the destination, and says beside it which service was asked; the receiver answers the client in that
// service's name. Plain values; ports in network byte order. The option itself is read by encap/geneve.h.
#pragma once

#include <cstring>

#include "dataplane/net/headers.h"
#include "dataplane/packet/packet.h"

namespace isthmus {

struct ServiceAddress {
  IpAddress address;
  Be16 port;
  friend bool operator==(const ServiceAddress&, const ServiceAddress&) = default;
};

// Bytes of the option's body: address, port, two of padding.
[[nodiscard]] constexpr std::uint32_t dsr_body_bytes(Family family) noexcept {
  return family == Family::kIpv4 ? 8 : 20;
}

// Notes the option whose body is at `body`, in front of the headers of the packet, which have been parsed. False: it is
// of the other family.
[[nodiscard]] inline bool note_dsr(Packet& packet, const std::uint8_t* body) noexcept {
  const auto distance = packet.ip - sizeof(net::Ethernet) - body;  // 63 words of options at most
  packet.dsr_words = static_cast<unsigned>(distance / 4) & 0x7fu;
  const std::uint32_t bytes = (body[-1] & 0x1fu) * 4u;  // as the option's header says
  return bytes == dsr_body_bytes(packet.family);
}

// What the option of a packet that has one says.
[[nodiscard]] inline ServiceAddress dsr_service(const Packet& packet) noexcept {
  const std::uint8_t* const body = packet.ip - sizeof(net::Ethernet) - 4u * packet.dsr_words;
  ServiceAddress service;
  std::uint16_t port = 0;
  if (packet.family == Family::kIpv4) {
    std::uint32_t word = 0;
    std::memcpy(&word, body, sizeof word);
    std::memcpy(&port, body + sizeof word, sizeof port);
    service.address = IpAddress::ipv4(Be32::raw(word));
  } else {
    service.address = IpAddress::ipv6(body);
    std::memcpy(&port, body + 16, sizeof port);
  }
  service.port = Be16::raw(port);
  return service;
}

}  // namespace isthmus
