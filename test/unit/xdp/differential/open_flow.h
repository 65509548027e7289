// A connection of the differential test: opened by the engine, which also shows how packets of the opposite direction
// look. Plain value.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "dataplane/conntrack/direction_block.h"
#include "test/unit/xdp/differential/random_fleet.h"
#include "xdp/abi.h"

namespace isthmus::test {

// What a direction's packets go through. Directions that are alike in all of it are counted together.
struct FlowClass {
  EncapsulationKind from = EncapsulationKind::kNone, to = EncapsulationKind::kNone;
  Family from_underlay = Family::kIpv4, to_underlay = Family::kIpv4;  // of the tunnels
  Family family = Family::kIpv4;                                      // inside
  IpProtocol protocol = IpProtocol::kTcp;
  bool on_underlay = false;  // arrives without a tunnel on the underlay device
  bool rewrites_source = false, rewrites_destination = false, decrements_ttl = false;
  friend auto operator<=>(const FlowClass&, const FlowClass&) = default;
  [[nodiscard]] std::string text() const;
};

// The flags of a decision, and how one sees each of them in what it does to packets.
struct RewriteRow {
  std::uint8_t flag;
  const char* name;
  bool (*applies)(const FlowClass& is);
};
inline constexpr RewriteRow kRewriteRows[] = {
    {DirectionBlock::kRewriteSource, "source rewritten", [](const FlowClass& is) { return is.rewrites_source; }},
    {DirectionBlock::kRewriteDestination, "destination rewritten",
     [](const FlowClass& is) { return is.rewrites_destination; }},
    {DirectionBlock::kDecrementTtl, "hop limit decremented", [](const FlowClass& is) { return is.decrements_ttl; }},
    {DirectionBlock::kTunnel, "leaves in a tunnel",
     [](const FlowClass& is) { return is.to != EncapsulationKind::kNone; }},
};
// The flags of a direction's entry. A flag that no row knows is never among them.
[[nodiscard]] std::uint8_t flags_of(const FlowClass& is);

struct FlowDirection {
  ArrivalShape arrival;
  FlowClass is;
  DeviceId leaves_by;
  std::size_t mtu = 0;  // the longest inner IP packet
  // What is in the kernel's map under its key at the last look; nullopt: nothing.
  std::optional<isthmus_flow> handed_down;
};

struct OpenFlow {
  std::array<FlowDirection, 2> directions;
  bool settled = false;  // packets of both directions have just passed
  bool ended = false;    // had one that may have ended it
};

// Opens a connection between two ends at random, one of which may be a service. nullopt: the gateway does not carry it
// both ways.
[[nodiscard]] std::optional<OpenFlow> open_flow(RandomFleet& fleet, Dice& dice, std::uint16_t client_port);
// A plain packet in each direction. False: one of them did not pass.
[[nodiscard]] bool keep_busy(RandomFleet& fleet, const OpenFlow& flow);
// The longest inner packet of what leaves like this frame.
[[nodiscard]] std::size_t mtu_behind(RandomFleet& fleet, DeviceId device, const Dissected& sent);
// Reads what is handed down of it.
void look_up(RandomFleet& fleet, OpenFlow& flow);

}  // namespace isthmus::test
