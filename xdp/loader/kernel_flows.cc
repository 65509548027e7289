#include "xdp/loader/kernel_flows.h"

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <utility>

namespace isthmus {
namespace {

constexpr std::uint32_t kTunnels = ISTHMUS_MAX_TUNNELS, kHops = ISTHMUS_MAX_HOPS, kDevices = ISTHMUS_MAX_DEVICES;

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
  std::random_device random;
  made->secret_ = std::uint64_t{random()} << 32 | random();
  // At least two chains for an entry.
  made->chain_shift_ = static_cast<std::uint8_t>(64 - std::bit_width(2 * std::uint64_t{entries} - 1));
  const std::uint32_t word = sizeof(std::uint32_t);
  const std::pair<MapShape, UniqueFd*> shapes[] = {
      {{BPF_MAP_TYPE_ARRAY, ISTHMUS_FLOWS_MAP, word, sizeof(isthmus_entry), entries + 1, true}, &made->flows_},
      {{BPF_MAP_TYPE_ARRAY, ISTHMUS_CHAINS_MAP, word, sizeof(isthmus_chains),
        static_cast<std::uint32_t>(made->chains() / ISTHMUS_CHAINS_IN_LINE), true},
       &made->chains_},
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
    const UniqueFd* const maps[] = {&made->flows_,
                                    &made->chains_,
                                    &made->leases_,
                                    &made->tunnels_,
                                    &made->hops_,
                                    &made->epochs_,
                                    &made->devices_[fragments]};
    for (std::size_t i = 0; i < std::size(kMapNames); ++i) {
      made->named_[fragments][i] = {kMapNames[i], maps[i]->get()};
    }
  }
  return made;
}

Result<std::shared_ptr<KernelFlows>> open_kernel_flows(const KernelFlowsOptions& options) {
  constexpr std::uint32_t kMost = 1u << 24;
  if (options.entries < kLeastKernelFlows || options.entries > kMost) {
    return Error{std::to_string(options.entries) + " entries of handed-down flows are out of range", "xdp",
                 "choose " + std::to_string(kLeastKernelFlows) + " to " + std::to_string(kMost)};
  }
  auto flows = KernelFlows::create(options.entries);
  if (!flows) {
    return flows.error();
  }
  return std::shared_ptr<KernelFlows>(std::move(*flows));
}

KernelFlows::~KernelFlows() {
  for (const Area& area : {flow_area_, chain_area_, lease_area_, tunnel_area_, hop_area_, epoch_area_}) {
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
  Status done = map(flows_, (std::size_t{entries_} + 1) * sizeof(isthmus_entry), flow_area_);
  done = done ? map(chains_, chains() * sizeof(std::uint32_t), chain_area_) : done;
  done = done ? map(leases_, (std::size_t{entries_} + 1) * sizeof(isthmus_lease), lease_area_) : done;
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
    int present = 0;
    if (bpf_map_lookup_elem(map.get(), &device, &present) == 0 && present == interface_index) {
      continue;
    }
    if (bpf_map_update_elem(map.get(), &device, &interface_index, BPF_ANY) != 0) {
      return refused("the interface that packets leave by", errno);
    }
  }
  return Ok{};
}

KernelFlows::Place KernelFlows::place_of(const isthmus_flow_key& key) const noexcept {
  std::uint64_t ports = 0;
  std::memcpy(&ports, &key.source_port, sizeof ports);
  const std::uint64_t chain = isthmus_flow_hash(&key, ports, secret_) >> chain_shift_;
  Place place = {static_cast<std::uint32_t*>(chain_area_.start) + chain, 0};
  while (*place.number != 0 && std::memcmp(&table()[*place.number].key, &key, sizeof key) != 0) {
    place.number = &table()[*place.number].next;
    ++place.length;
  }
  return place;
}

const isthmus_flow* KernelFlows::find(const isthmus_flow_key& key) const noexcept {
  const std::uint32_t number = *place_of(key).number;
  return number == 0 ? nullptr : &table()[number].flow;
}

std::size_t KernelFlows::insert(std::span<const isthmus_flow_key> keys, std::span<const isthmus_flow> flows) noexcept {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::uint32_t number = flows[i].lease;
    const Place place = place_of(keys[i]);
    if (number == 0 || number > entries_ || table()[number].linked != 0 || *place.number != 0 ||
        place.length == ISTHMUS_LONGEST_CHAIN) {
      return i;
    }
    table()[number] = {keys[i], 0, 1, flows[i]};
    std::atomic_ref(*place.number).store(number, std::memory_order_release);
  }
  return keys.size();
}

// Programs that are at the entry still go on from it.
void KernelFlows::erase(std::span<const isthmus_flow_key> keys) noexcept {
  for (const isthmus_flow_key& key : keys) {
    std::uint32_t& place = *place_of(key).number;
    if (place != 0) {
      isthmus_entry& entry = table()[place];
      entry.linked = 0;
      std::atomic_ref(place).store(entry.next, std::memory_order_release);
    }
  }
}

// The kernel waits for running programs before it returns from an update of an array of maps (kernel/bpf/syscall.c,
// maybe_wait_bpf_programs; Linux 4.20), where that was successful.
bool KernelFlows::wait_for_programs() noexcept {
  const std::uint32_t only = 0;
  const int inner = inner_.get();
  return bpf_map_update_elem(outer_.get(), &only, &inner, BPF_ANY) == 0;
}

}  // namespace isthmus
