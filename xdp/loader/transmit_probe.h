// Whether an interface sends the frames that XDP programs redirect to it. Not every driver does (hv_netvsc lacks it on
// Linux 5.15), and a veth only while its other end has GRO or an XDP program. A frame that it does not send is lost
// without a trace, so that flows which leave by it are not handed down. Control thread.
// Asks the kernel where it can tell (Linux 6.3), else tries.
#pragma once

#include <optional>
#include <string>

#include "xdp/loader/xdp_attachment.h"

namespace isthmus {

// Whether it sends what a program in native mode redirects to it: nullopt; else why not, for `status`. Of a program in
// generic mode the kernel sends it as it sends anything.
[[nodiscard]] std::optional<std::string> why_not_transmitting(const Interface& interface);
// The same without trying: `before`, where the kernel does not tell.
[[nodiscard]] std::optional<std::string> why_not_transmitting_now(const Interface& interface,
                                                                  const std::optional<std::string>& before);

// Redirects one frame to the interface, of the experimental EtherType 0x88b5, from and to its own address. nullopt:
// that is not possible here. `error`: what the driver said, an errno value; 0: nothing.
[[nodiscard]] std::optional<bool> transmits_by_trial(const Interface& interface, int& error);

}  // namespace isthmus
