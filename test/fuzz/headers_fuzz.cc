// Arbitrary bytes as a frame, read by the parser alone, in memory of just that size: no read beyond it, and what is
// found lies within the packet. Beside path_fuzz.cc, which rarely gets past the tables with a chain of headers.
#include <cstdint>
#include <cstring>
#include <memory>

#include "dataplane/packet/flow_number.h"
#include "dataplane/packet/parse.h"

namespace {

using namespace isthmus;

void require(bool holds) {
  if (!holds) {
    __builtin_trap();
  }
}

void check(const Packet& packet) {
  const std::uint8_t* const end = packet.ip + packet.ip_bytes;
  require(packet.l4 >= packet.ip && packet.l4 <= end);
  require(packet.ip + ip_header_bytes(packet.ip, packet.family) == packet.l4);
  const auto part = fragment_part(packet);
  require(part.has_value() == (packet.fragment != Fragment::kNone));
  require(!part || part->data + part->bytes == end);
  const bool portless = !has_ports(packet.key.protocol) && !is_icmp(packet.key.protocol);
  require(!(portless || packet.fragment == Fragment::kLater) ||
          (packet.key.source_port == Be16{} && packet.key.destination_port == Be16{}));
}

const FlowNumbers& flow_numbers() {
  static const FlowNumbers numbers = [] {
    TunnelEnds ends;
    ends.ports[static_cast<std::size_t>(EncapsulationKind::kVxlan)] = L4Port{8472};
    ends.ports[static_cast<std::size_t>(EncapsulationKind::kGeneve)] = L4Port{6081};
    return FlowNumbers(ends, 7);
  }();
  return numbers;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::unique_ptr<std::uint8_t[]> bytes(new std::uint8_t[size]);
  if (size != 0) {
    std::memcpy(bytes.get(), data, size);
  }
  Frame frame;
  frame.data = bytes.get();
  frame.length = static_cast<std::uint32_t>(size);
  Packet packet;
  packet.frame = &frame;
  packet.begin();
  if (!parse_ethernet(packet, frame.data) && !parse_flow(packet, Realm{})) {
    check(packet);
  }
  (void)flow_numbers().of(frame.data, frame.length);
  return 0;
}
