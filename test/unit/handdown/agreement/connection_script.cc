#include "test/unit/handdown/agreement/connection_script.h"

#include <algorithm>

namespace isthmus::test {
namespace {

constexpr std::size_t kPayload = 100;

FrameBytes to_device(const PacketSpec& packet, std::uint8_t last_of_mac) {
  FrameBytes bytes = packet.bytes();
  const std::uint8_t mac[] = {2, 0, 0, 0, 0, last_of_mac};
  std::copy(std::begin(mac), std::end(mac), bytes.begin());
  return bytes;
}
FrameBytes to_local(const PacketSpec& packet) { return to_device(packet, 0x11); }
FrameBytes to_underlay(const PacketSpec& packet) { return to_device(packet, 0x01); }

}  // namespace

void ScriptedConnection::forget_counts() noexcept {
  for (std::array<Tally, 2>* tallies : {&by_workers, &by_kernel}) {
    for (Tally& tally : *tallies) {
      tally.packets = tally.bytes = 0;
    }
  }
}

ConnectionScript::ConnectionScript(const PathRig& rig, std::size_t connections) : rig_(rig), connections_(connections) {
  for (std::size_t n = 0; n < connections; ++n) {
    ScriptedConnection& connection = connections_[n];
    connection.client = {rig.at.client.address, static_cast<std::uint16_t>(kFirstPort + n)};
    connection.target = n % 2 == 0 ? rig.at.west : rig.at.remote_service;
    connection.there = there(connection, kAck);
    connection.back = {back(connection, kAck, false), back(connection, kAck, true)};
  }
}

ScriptedConnection* ConnectionScript::of_port(std::uint16_t port) noexcept {
  const std::size_t n = static_cast<std::size_t>(port) - kFirstPort;
  return port >= kFirstPort && n < connections_.size() ? &connections_[n] : nullptr;
}

FrameBytes ConnectionScript::there(const ScriptedConnection& connection, std::uint8_t flags) const {
  return to_local(tcp(connection.client, connection.target, flags).with_payload(kPayload));
}

FrameBytes ConnectionScript::back(const ScriptedConnection& connection, std::uint8_t flags, bool other_gateway) const {
  const Actors& at = rig_.at;
  return to_underlay(rig_.tunnelled(tcp(at.west, connection.client, flags).with_payload(kPayload),
                                    other_gateway ? at.west_other : at.west_gateway, kWestIdentity));
}

FrameBytes ConnectionScript::fence(unsigned worker) const {
  const Endpoint from{rig_.at.local_backend.address, static_cast<std::uint16_t>(kFencePort + worker)};
  return to_local(tcp(from, rig_.at.north, kSyn));
}

LeftFrame ConnectionScript::read(const FrameBytes& frame, bool underlay) {
  constexpr std::size_t kEthernet = 14, kTunnel = 50, kIp = 20, kFlags = 13;
  const std::size_t ip = underlay ? kTunnel + kEthernet : kEthernet, l4 = ip + kIp;
  LeftFrame left;
  if (frame.size() <= l4 + kFlags) {
    return left;
  }
  const std::size_t port = underlay ? l4 : l4 + 2;
  left.client_port = static_cast<std::uint16_t>(frame[port] << 8 | frame[port + 1]);
  left.direction = underlay ? Direction::kForward : Direction::kReply;
  left.tcp_flags = frame[l4 + kFlags];
  left.inner_bytes = frame.size() - ip;
  return left;
}

}  // namespace isthmus::test
