// Whether an interface sends the frames that XDP programs redirect to it. Not every driver does (hv_netvsc lacks it on
// Linux 5.15), and a veth only while its other end has GRO or an XDP program. A frame that it does not send is lost
// without a trace, so that flows which leave by it are not handed down. Control thread.
// Asks the kernel where it can tell (Linux 6.3), else tries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "xdp/loader/xdp_attachment.h"

namespace isthmus {

inline constexpr const char* kNotTried =
    "no frame could be sent so far that shows whether the driver sends what XDP "
    "redirects to it: the interface is down, or busy";

// Whether it sends what a program in native mode redirects to it: nullopt; else why not, for `status`. Of a program in
// generic mode the kernel sends it as it sends anything. `before`: the last answer, which stands where a trial shows
// nothing, since the interface is down, or busy.
[[nodiscard]] std::optional<std::string> why_not_transmitting(const Interface& interface,
                                                              const std::optional<std::string>& before = kNotTried);
// The same without trying: `before`, where the kernel does not tell.
[[nodiscard]] std::optional<std::string> why_not_transmitting_now(const Interface& interface,
                                                                  const std::optional<std::string>& before);

// Redirects one frame to the interface, of the experimental EtherType 0x88b5, from and to its own address.
enum class Trial : std::uint8_t {
  kSends,
  kDoesNotSend,
  kShowsNothing,  // the interface is down, or its ring is full
  kImpossible,    // on this kernel
};
// `error`: what the kernel said, an errno value; 0: nothing.
[[nodiscard]] Trial try_transmission(const Interface& interface, int& error);

}  // namespace isthmus
