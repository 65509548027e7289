#include "xdp/loader/kernel_flows.h"

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace isthmus {
namespace {

constexpr std::uint32_t kTunnels = 65536, kHops = 65536, kDevices = 64;  // as maps.h

[[nodiscard]] Error refused(const char* what, int error) {
  const bool denied = error == EPERM || error == EACCES;
  return Error{std::string("cannot make the maps of handed-down flows: ") + what + ": " + std::strerror(error), "xdp",
               denied ? "run as root, or with CAP_BPF and CAP_NET_ADMIN" : "lower the number of flows handed down"};
}

struct MapShape {
  bpf_map_type type;
  const char* name;
  std::uint32_t key_bytes, value_bytes, entries;
  bool mapped;
};

[[nodiscard]] Status make(const MapShape& shape, UniqueFd& into) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = shape.mapped ? std::uint32_t{BPF_F_MMAPABLE} : 0u);
  into = UniqueFd(bpf_map_create(shape.type, shape.name, shape.key_bytes, shape.value_bytes, shape.entries, &options));
  return into.valid() ? Status(Ok{}) : Status(refused(shape.name, errno));
}

[[nodiscard]] std::size_t whole_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

Result<std::unique_ptr<KernelFlows>> KernelFlows::create(std::uint32_t entries) {
  std::unique_ptr<KernelFlows> made(new KernelFlows);
  made->entries_ = entries;
  const std::uint32_t word = sizeof(std::uint32_t);
  const std::pair<MapShape, UniqueFd*> shapes[] = {
      {{BPF_MAP_TYPE_HASH, "isthmus_flows", sizeof(isthmus_flow_key), sizeof(isthmus_flow), entries, false},
       &made->flows_},
      {{BPF_MAP_TYPE_ARRAY, ISTHMUS_LEASES_MAP, word, sizeof(isthmus_lease), entries + 1, true}, &made->leases_},
      {{BPF_MAP_TYPE_ARRAY, "isthmus_tunnels", word, sizeof(isthmus_tunnel), kTunnels, true}, &made->tunnels_},
      {{BPF_MAP_TYPE_ARRAY, "isthmus_hops", word, sizeof(isthmus_hop), kHops, true}, &made->hops_},
      {{BPF_MAP_TYPE_ARRAY, "isthmus_epochs", word, sizeof(isthmus_epochs), 1, true}, &made->epochs_},
      {{BPF_MAP_TYPE_DEVMAP, "isthmus_devices", word, word, kDevices, false}, &made->devices_[0]},
      {{BPF_MAP_TYPE_DEVMAP, "isthmus_devices", word, word, kDevices, false}, &made->devices_[1]},
      {{BPF_MAP_TYPE_ARRAY, "isthmus_inner", word, word, 1, false}, &made->inner_},
  };
  for (const auto& [shape, fd] : shapes) {
    if (Status done = make(shape, *fd); !done) {
      return done.error();
    }
  }
  LIBBPF_OPTS(bpf_map_create_opts, nested, .inner_map_fd = static_cast<std::uint32_t>(made->inner_.get()));
  made->outer_ = UniqueFd(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "isthmus_grace", word, word, 1, &nested));
  if (!made->outer_.valid()) {
    return refused("isthmus_grace", errno);
  }
  if (Status mapped = made->map_areas(); !mapped) {
    return mapped.error();
  }
  for (const std::size_t fragments : {0u, 1u}) {
    const UniqueFd* const maps[] = {&made->flows_, &made->leases_, &made->tunnels_,
                                    &made->hops_,  &made->epochs_, &made->devices_[fragments]};
    for (std::size_t i = 0; i < std::size(kMapNames); ++i) {
      made->named_[fragments][i] = {kMapNames[i], maps[i]->get()};
    }
  }
  return made;
}

Result<std::shared_ptr<KernelFlows>> open_kernel_flows(const KernelFlowsOptions& options) {
  constexpr std::uint32_t kFewest = 16, kMost = 1u << 24;
  if (options.entries < kFewest || options.entries > kMost) {
    return Error{std::to_string(options.entries) + " entries of handed-down flows are out of range", "xdp",
                 "choose " + std::to_string(kFewest) + " to " + std::to_string(kMost)};
  }
  auto flows = KernelFlows::create(options.entries);
  if (!flows) {
    return flows.error();
  }
  return std::shared_ptr<KernelFlows>(std::move(*flows));
}

KernelFlows::~KernelFlows() {
  for (const Area& area : {lease_area_, tunnel_area_, hop_area_, epoch_area_}) {
    if (area.start != nullptr) {
      munmap(area.start, area.bytes);
    }
  }
}

Status KernelFlows::map_areas() {
  const auto map = [](const UniqueFd& fd, std::size_t bytes, Area& area) -> Status {
    void* start = mmap(nullptr, whole_pages(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (start == MAP_FAILED) {
      return refused("mapping them", errno);
    }
    area = {start, whole_pages(bytes)};
    return Ok{};
  };
  Status done = map(leases_, (std::size_t{entries_} + 1) * sizeof(isthmus_lease), lease_area_);
  done = done ? map(tunnels_, kTunnels * sizeof(isthmus_tunnel), tunnel_area_) : done;
  done = done ? map(hops_, kHops * sizeof(isthmus_hop), hop_area_) : done;
  return done ? map(epochs_, sizeof(isthmus_epochs), epoch_area_) : done;
}

std::span<isthmus_lease> KernelFlows::leases() const noexcept {
  return {static_cast<isthmus_lease*>(lease_area_.start), std::size_t{entries_} + 1};
}
std::span<isthmus_tunnel> KernelFlows::tunnels() const noexcept {
  return {static_cast<isthmus_tunnel*>(tunnel_area_.start), kTunnels};
}
std::span<isthmus_hop> KernelFlows::hops() const noexcept {
  return {static_cast<isthmus_hop*>(hop_area_.start), kHops};
}
std::uint32_t* KernelFlows::epochs() const noexcept { return static_cast<isthmus_epochs*>(epoch_area_.start)->word; }

Status KernelFlows::set_device(std::uint32_t device, int interface_index) {
  for (const UniqueFd& map : devices_) {
    if (bpf_map_update_elem(map.get(), &device, &interface_index, BPF_ANY) != 0) {
      return refused("the interface that packets leave by", errno);
    }
  }
  return Ok{};
}

// One call each: a batch knows no BPF_NOEXIST (kernel/bpf/syscall.c, generic_map_update_batch).
std::size_t KernelFlows::insert(std::span<const isthmus_flow_key> keys, std::span<const isthmus_flow> flows) {
  std::size_t inserted = 0;
  while (inserted < keys.size() &&
         bpf_map_update_elem(flows_.get(), &keys[inserted], &flows[inserted], BPF_NOEXIST) == 0) {
    ++inserted;
  }
  return inserted;
}

// A batch ends at a key that is not there.
void KernelFlows::erase(std::span<const isthmus_flow_key> keys) {
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  while (!keys.empty()) {
    auto count = static_cast<std::uint32_t>(keys.size());
    if (bpf_map_delete_batch(flows_.get(), keys.data(), &count, &options) == 0) {
      return;
    }
    keys = keys.subspan(std::min<std::size_t>(keys.size(), std::size_t{count} + 1));
  }
}

// The kernel waits for running programs before it returns from an update of an array of maps (kernel/bpf/syscall.c,
// maybe_wait_bpf_programs; Linux 4.20).
void KernelFlows::wait_for_programs() {
  const std::uint32_t only = 0;
  const int inner = inner_.get();
  static_cast<void>(bpf_map_update_elem(outer_.get(), &only, &inner, BPF_ANY));
}

}  // namespace isthmus
