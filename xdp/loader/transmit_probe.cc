#include "xdp/loader/transmit_probe.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "dataplane/io/unique_fd.h"
#include "probe_object.h"
#include "xdp/abi.h"
#include "xdp/loader/libbpf_messages.h"
#include "xdp/loader/xdp_features.h"

namespace isthmus {
namespace {

constexpr std::size_t kFrameBytes = 60;
using ProbeFrame = std::array<unsigned char, kFrameBytes>;

struct ProbeObjectCloser {
  void operator()(bpf_object* object) const noexcept { bpf_object__close(object); }
};
struct ProbeLinkCloser {
  void operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }
};

constexpr const char* kNoTransmission =
    "the driver does not send what XDP redirects to it; on a veth, `ethtool -K PEER gro on` at its other end helps";

// From the interface to itself: a switch or another host has no use for it.
[[nodiscard]] std::optional<ProbeFrame> probe_frame(const Interface& interface) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, interface.name.c_str(), sizeof request.ifr_name - 1);
  if (!socket.valid() || ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0) {
    return std::nullopt;
  }
  constexpr std::size_t kMac = 6;
  ProbeFrame frame{};
  std::memcpy(frame.data(), request.ifr_hwaddr.sa_data, kMac);
  std::memcpy(frame.data() + kMac, request.ifr_hwaddr.sa_data, kMac);
  frame[2 * kMac] = 0x88;
  frame[2 * kMac + 1] = 0xb5;
  return frame;
}

// Redirects one frame to the interface. nullopt: that is not possible here.
[[nodiscard]] std::optional<isthmus_probe_result> redirect_one(const Interface& interface) {
  const LibbpfMessages messages;
  const std::unique_ptr<bpf_object, ProbeObjectCloser> object(
      bpf_object__open_mem(kProbeObject, sizeof kProbeObject, nullptr));
  bpf_map* constants = object ? bpf_object__find_map_by_name(object.get(), ISTHMUS_CONSTANTS_MAP) : nullptr;
  const std::uint32_t values[] = {static_cast<std::uint32_t>(interface.index), network_namespace()};
  if (constants == nullptr || bpf_map__set_initial_value(constants, values, sizeof values) != 0 ||
      bpf_object__load(object.get()) != 0) {
    return std::nullopt;
  }
  std::vector<std::unique_ptr<bpf_link, ProbeLinkCloser>> listeners;
  for (const char* name : {"isthmus_probed", "isthmus_unprobed"}) {
    listeners.emplace_back(bpf_program__attach(bpf_object__find_program_by_name(object.get(), name)));
    if (!listeners.back()) {
      return std::nullopt;
    }
  }
  const auto frame = probe_frame(interface);
  if (!frame) {
    return std::nullopt;
  }
  const int program = bpf_program__fd(bpf_object__find_program_by_name(object.get(), "isthmus_probe"));
  xdp_md context{};
  context.data_end = kFrameBytes;
  LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame->data(), .data_size_in = kFrameBytes, .ctx_in = &context,
              .ctx_size_in = sizeof context, .repeat = 1, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
  if (bpf_prog_test_run_opts(program, &run) != 0) {
    return std::nullopt;
  }
  isthmus_probe_result result{};
  const std::uint32_t only = 0;
  const int map = bpf_object__find_map_fd_by_name(object.get(), "isthmus_result");
  if (bpf_map_lookup_elem(map, &only, &result) != 0) {
    return std::nullopt;
  }
  return result;
}

}  // namespace

Trial try_transmission(const Interface& interface, int& error) {
  const auto result = redirect_one(interface);
  error = result ? -result->error : 0;
  if (!result) {
    return Trial::kImpossible;
  }
  if (result->sent != 0) {
    return Trial::kSends;
  }
  const bool busy = result->dropped != 0 && error == 0;
  return busy || error == ENETDOWN ? Trial::kShowsNothing : Trial::kDoesNotSend;
}

std::optional<std::string> why_not_transmitting_now(const Interface& interface,
                                                    const std::optional<std::string>& before) {
  const auto features = xdp_features(interface.index);
  if (!features) {
    return before;
  }
  return (*features & xdp_feature::kTransmit) != 0 ? std::nullopt : std::optional<std::string>(kNoTransmission);
}

std::optional<std::string> why_not_transmitting(const Interface& interface, const std::optional<std::string>& before) {
  if (xdp_features(interface.index)) {
    return why_not_transmitting_now(interface, std::nullopt);
  }
  int error = 0;
  switch (try_transmission(interface, error)) {
    case Trial::kSends:
      return std::nullopt;
    case Trial::kShowsNothing:
      return before;
    case Trial::kImpossible:
      return "the kernel does not tell whether the driver sends what XDP redirects to it";
    case Trial::kDoesNotSend:
      break;
  }
  return kNoTransmission + (error > 0 ? std::string(" (") + std::strerror(error) + ")" : "");
}

}  // namespace isthmus
