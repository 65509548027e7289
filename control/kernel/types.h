// Values exchanged with control/kernel. Plain values, any thread. MTUs are IP packet sizes in bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

struct LinkState {
  std::string interface;
  int index = 0;
  std::string kind;  // "veth", "vxlan", ...; empty for hardware
  MacAddress mac;
  Bytes mtu{0};
  bool ethernet = true;           // its frames begin with an Ethernet header
  bool up = false;                // administratively
  bool running = false;           // up, and with a carrier
  std::uint32_t xdp_program = 0;  // its number; 0: none, or several
  bool removed = false;           // in events only: the interface was removed
  friend bool operator==(const LinkState&, const LinkState&) = default;
};

struct NextHop {
  std::string interface;
  int interface_index = 0;
  IpAddress address;  // the gateway; where there is none (on-link), the destination itself
  bool on_link = false;
  bool is_local = false;            // the destination is an address of this node; `address` is then meaningless
  Bytes mtu{0};                     // of the route if it has one (path MTU discovery included), else of the link
  std::optional<IpAddress> source;  // source address that the kernel would use
  friend bool operator==(const NextHop&, const NextHop&) = default;
};

// An address of this node, or of a router that its routes name.
struct NodeAddress {
  IpAddress address;
  std::string interface;
  bool router = false;
  std::uint8_t length = 128;  // of this node's: of the network that it is connected to by it
  friend auto operator<=>(const NodeAddress&, const NodeAddress&) = default;
};

// A kernel route towards addresses of this cluster.
struct KernelRoute {
  Prefix prefix;
  std::string interface;
  std::optional<IpAddress> gateway = {};  // none: on-link
  friend bool operator==(const KernelRoute&, const KernelRoute&) = default;
};

struct NeighbourChange {
  std::string interface;
  IpAddress address;
  std::optional<MacAddress> mac = {};  // none: unresolved, resolution is being tried
  friend bool operator==(const NeighbourChange&, const NeighbourChange&) = default;
};

struct KernelEvents {
  std::vector<NeighbourChange> neighbours;  // watched ones, with their latest state
  std::vector<LinkState> links;             // added, removed, or with a changed state, MTU or MAC
  bool routes_changed = false;              // query next_hop() and local_routes() again (coalesce: can be frequent)
  bool lost = false;                        // the kernel dropped notifications; everything was reloaded
  [[nodiscard]] bool empty() const { return neighbours.empty() && links.empty() && !routes_changed && !lost; }
};

// A twin with the addresses of a NIC.
struct StandingTwin {
  std::string twin, nic;
  friend bool operator==(const StandingTwin&, const StandingTwin&) = default;
};

struct LocalDeviceOptions {
  std::string kernel_end = "isthmus0";
  std::string engine_end = {};  // empty: kernel_end + "x"
  unsigned queues = 1;          // of both ends, both directions: the number of workers
  Bytes mtu{1450};
  [[nodiscard]] std::string engine_end_name() const { return engine_end.empty() ? kernel_end + "x" : engine_end; }
};

struct LocalDevice {
  LinkState kernel_end, engine_end;
  unsigned queues = 0;
  bool adopted = false;  // false: created by this call
};

struct RouteOptions {
  Bytes mtu{0};        // 0: that of the device
  bool closed = true;  // a blackhole behind each route, for when the device is gone
  std::optional<IpAddress> source_ipv4 = {},
                           source_ipv6 = {};  // for packets of the node itself; must be addresses of the node
};

// Another program's route for the same prefix, which the kernel prefers to ours (or which occupies its place).
struct ForeignRoute {
  Prefix prefix;
  std::string interface;
  std::string protocol;  // "static", "bird", "protocol 42"
  std::uint32_t metric = 0;
  [[nodiscard]] std::string text() const;
};

struct RouteReport {
  unsigned added = 0, changed = 0, removed = 0, kept = 0;
  std::vector<ForeignRoute> foreign;
};

}  // namespace isthmus
