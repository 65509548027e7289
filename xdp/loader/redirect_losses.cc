#include "xdp/loader/redirect_losses.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "losses_object.h"
#include "xdp/abi.h"
#include "xdp/loader/libbpf_messages.h"
#include "xdp/loader/xdp_attachment.h"

namespace isthmus {

RedirectLosses::RedirectLosses() {
  const LibbpfMessages messages;
  if (const int error = start(); error != 0) {
    const std::string message = messages.last_line();
    why_not_ = message.empty() ? std::string(std::strerror(error)) : message;
    links_.clear();
    object_.reset();
  }
}

int RedirectLosses::start() {
  const std::uint32_t network = network_namespace();  // isthmus_losses_namespace, the only constant
  if (network == 0) {
    return errno;
  }
  object_.reset(bpf_object__open_mem(kLossesObject, sizeof kLossesObject, nullptr));
  if (!object_) {
    return errno;
  }
  bpf_map* constants = bpf_object__find_map_by_name(object_.get(), ISTHMUS_CONSTANTS_MAP);
  if (bpf_map__set_initial_value(constants, &network, sizeof network) != 0 || bpf_object__load(object_.get()) != 0) {
    return errno;
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object_.get()) {
    links_.emplace_back(bpf_program__attach(program));
    if (!links_.back()) {
      return errno;
    }
  }
  interfaces_ = bpf_object__find_map_fd_by_name(object_.get(), "isthmus_losses");
  return 0;
}

void RedirectLosses::count_at(int interface_index, int counters) {
  if (!why_not_ && bpf_map_update_elem(interfaces_, &interface_index, &counters, BPF_ANY) != 0) {
    why_not_ = std::string("naming an interface: ") + std::strerror(errno);
  }
}

void RedirectLosses::forget(int interface_index) noexcept {
  static_cast<void>(bpf_map_delete_elem(interfaces_, &interface_index));
}

}  // namespace isthmus
