// The traffic of the benchmarks of settled flows: clients of our cluster and one pod of another, or a service in front
// of it, on the topology of perf/io/rig.h. Our cluster is behind u0, d0 is the underlay.
//
//   to the fabric:   client → g0 === u0 [gateway] d0 === s0, there in VXLAN to the other gateway
//   from the fabric: pod → s0 === d0 [gateway] u0 === g0, there without it
//
// Frames have full UDP checksums. Pure functions, but for build_settled_rig().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/io/live_frames.h"

namespace isthmus::perf {

enum class Work : std::uint8_t {
  kForward,    // clients talk to the pod
  kTranslate,  // clients talk to the service: its address and port are translated, and back
};
enum class Course : std::uint8_t { kToFabric, kFromFabric };

struct SettledEnds {
  IpAddress our_tunnel, their_tunnel;
  IpAddress pod, vip;
  L4Port pod_port, vip_port, tunnel_port;
  IpAddress first_client;  // others follow in the low half
  Prefix clients, pods;
  MacAddress to_fabric, to_clients;  // of the next hops
  MacAddress underlay, local;        // of the gateway's interfaces
  std::uint32_t our_identity, their_identity;
};
[[nodiscard]] const SettledEnds& settled_ends();

struct SettledStream {
  const char* pump;  // interfaces
  const char* sink;
  std::vector<std::uint8_t> frame;
  Traffic::Spread spread;
};
// `flows`: a power of two, at least 2.
[[nodiscard]] SettledStream settled_stream(Course course, Work work, std::uint32_t flows, unsigned inner_frame_bytes);
struct SettledFlow {
  IpAddress client;
  Be16 port;
};
[[nodiscard]] SettledFlow settled_flow(std::uint32_t n);
// The first of clients that are none of these, with the L4 ports of settled_other_stream().
[[nodiscard]] IpAddress settled_other_client();
// `count` (a power of two, at most 16384) connections of the n-th of them, without translation.
[[nodiscard]] SettledStream settled_other_stream(Course course, std::uint32_t count, std::uint32_t n,
                                                 unsigned inner_frame_bytes);
// How many client addresses there are.
[[nodiscard]] std::uint32_t settled_clients(std::uint32_t flows);

// What a bare forwarder does on this course.
[[nodiscard]] bare_work settled_bare(Course course, Work work, unsigned inner_frame_bytes);

// What is wrong with a frame at the sink; empty: nothing. `vni`: that frames to the fabric have.
[[nodiscard]] std::string settled_error(const Traffic::Sample& sample, Course course, Work work, std::uint32_t flows,
                                        std::uint32_t vni);

// Moves the calling thread into a new namespace, with the links, addresses and routes of a gateway.
[[nodiscard]] Status build_settled_rig();
// Sets the kernel up to do the gateway's work there, with VNI `their_identity` both ways.
[[nodiscard]] Status build_settled_kernel(Work work);

}  // namespace isthmus::perf
