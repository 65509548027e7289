// What is the kernel's, of a device that receives all that arrives at its interface (Device::shares_with_host()). It
// goes to DeviceQueue::to_host() as it came: no connection, refusal, flow event, drop or ICMP error arises from it.
//
// A frame for another MAC address than the device's is the kernel's before anything is read of it. Of the others, what
// meets a decision that holds is ours without a question: everything that has one was asked about first, and what the
// rules do not take any more has its epoch words moved by the publisher. The rest is asked about once, by HostRules,
// before anything of the frame is changed, or anything is kept: what is for our tunnel ends, and fragments, in parse;
// what cannot be parsed, behind it; what has no decision, in forward. Fragments that wait for the first one of their
// datagram are ours already.
//
// While an engine has published nothing, everything is the kernel's, as with a kernel program without rules.
// Thread: the worker. (host_slow.cc)
#pragma once

#include "dataplane/path/context.h"

namespace isthmus {

// Begins a burst that has just arrived on such a device: sets aside what is not for its MAC address. False: nothing is
// left of the burst.
[[nodiscard]] bool begin_shared(PathContext& context, Burst& burst) noexcept;

// Of a packet whose frame is as it came but for its length, as the fast parser may leave padding out: if it is the
// kernel's, gives it the verdict kToHost and sets its frame aside, as long as it came. False for what has been asked
// about before.
[[nodiscard]] bool ask_host_rules(PathContext& context, Packet& packet) noexcept;

[[nodiscard]] inline bool is_hosts(PathContext& context, Packet& packet) noexcept {
  return context.host.rules != nullptr && ask_host_rules(context, packet);
}

// Takes what is the kernel's out of the undecided packets, which are not counted as misses then. Returns how many.
[[nodiscard]] unsigned leave_to_host(PathContext& context, Burst& burst, std::uint64_t& misses) noexcept;

}  // namespace isthmus
