#include "xdp/loader/steer_program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <vector>

#include "programs_object.h"
#include "xdp/loader/kernel_flows.h"
#include "xdp/loader/libbpf_messages.h"

namespace isthmus {
namespace {

// Both structs come from one list, the kernel's and the reader's.
#define ISTHMUS_STEER_COUNTER(field, ...) \
  static_assert(offsetof(SteerCounters, field) == offsetof(isthmus_steer_counters, field));
#include "dataplane/stats/counters.def"
static_assert(sizeof(SteerCounters) == sizeof(isthmus_steer_counters));

// A live engine writes a heartbeat at least every 100 ms (the longest sleep of a worker).
constexpr useconds_t kHeartbeatWatchMicroseconds = 300'000;
constexpr std::uint64_t kHeartbeatRecentNanoseconds = 5'000'000'000;

[[nodiscard]] Error load_failure(int error, const std::string& detail) {
  const int code = error < 0 ? -error : error;
  const bool denied = code == EPERM || code == EACCES;
  return Error{std::string("cannot load the steer program: ") + std::strerror(code) +
                   (detail.empty() ? "" : " [" + detail + "]"),
               "xdp steer", denied ? "run as root, or with CAP_BPF and CAP_NET_ADMIN" : "needs Linux 5.10 or later"};
}

// The latest heartbeat of the program's engine; 0 if there is none, or it has ended.
[[nodiscard]] std::uint64_t latest_heartbeat(const Interface& interface, const AttachedProgram& program) {
  const auto map = map_of(interface, program, ISTHMUS_HEARTBEATS_MAP);
  bpf_map_info info{};
  std::uint32_t size = sizeof info;
  if (!map || bpf_obj_get_info_by_fd(map->get(), &info, &size) != 0 || info.value_size != sizeof(isthmus_heartbeat)) {
    return 0;
  }
  std::uint64_t latest = 0;
  isthmus_heartbeat heartbeat{};
  for (std::uint32_t queue = 0; queue < info.max_entries; ++queue) {
    if (bpf_map_lookup_elem(map->get(), &queue, &heartbeat) == 0 && (heartbeat.nanoseconds & ISTHMUS_NOT_POLLED) == 0) {
      latest = std::max<std::uint64_t>(latest, heartbeat.nanoseconds);
    }
  }
  return latest;
}

[[nodiscard]] bool engine_alive(const Interface& interface, const AttachedProgram& program) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::uint64_t before = latest_heartbeat(interface, program);
  if (before + kHeartbeatRecentNanoseconds <
      static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec)) {
    return false;
  }
  usleep(kHeartbeatWatchMicroseconds);
  return latest_heartbeat(interface, program) != before;
}

[[nodiscard]] Error foreign_program(const Interface& interface, const AttachedProgram& program) {
  const std::string name = !program.fd.valid()    ? "which CAP_SYS_ADMIN may open alone"
                           : program.name.empty() ? "without a name"
                                                  : "\"" + program.name + "\"";
  return Error{"the interface already runs a foreign XDP program, " + name + " (id " + std::to_string(program.id) + ")",
               interface.name,
               std::string(program.fd.valid() ? "" : "if an earlier gateway left it: isthmus cleanup, as root; else ") +
                   "stop the program that installed it, remove it with `ip link set dev " + interface.name +
                   " xdp off`, or use another interface"};
}

// Of all CPUs; nullopt: not a map of this version's counters.
[[nodiscard]] std::optional<SteerCounters> read_counters(int map) {
  const int cpus = libbpf_num_possible_cpus();
  bpf_map_info info{};
  std::uint32_t size = sizeof info;
  if (cpus <= 0 || bpf_obj_get_info_by_fd(map, &info, &size) != 0 ||
      info.value_size != sizeof(isthmus_steer_counters)) {
    return std::nullopt;
  }
  std::vector<isthmus_steer_counters> per_cpu(static_cast<std::size_t>(cpus));
  const std::uint32_t only = 0;
  if (bpf_map_lookup_elem(map, &only, per_cpu.data()) != 0) {
    return std::nullopt;
  }
  SteerCounters sum;
  for (const isthmus_steer_counters& c : per_cpu) {
#define ISTHMUS_STEER_COUNTER(field, ...) sum.field += c.field;
#include "dataplane/stats/counters.def"
  }
  return sum;
}

}  // namespace

void SteerProgram::ObjectCloser::operator()(bpf_object* object) const noexcept { bpf_object__close(object); }

SteerProgram::SteerProgram(const Settings& settings) : settings_(settings) {}

SteerProgram::~SteerProgram() {
  if (heartbeats_ != nullptr) {
    munmap(heartbeats_, heartbeats_bytes_);
  }
}

Result<std::unique_ptr<SteerProgram>> SteerProgram::load(const Settings& settings) {
  std::unique_ptr<SteerProgram> program(new SteerProgram(settings));
  if (Status loaded = program->load_object(); !loaded) {
    return loaded.error();
  }
  const auto map = [&](const char* name) { return bpf_object__find_map_fd_by_name(program->object_.get(), name); };
  program->sockets_ = map("isthmus_xsks");
  program->programs_ = map(ISTHMUS_PROGRAMS_MAP);
  isthmus_steer_config config{};
  config.flags = (settings.engine_down_passes ? ISTHMUS_ENGINE_DOWN_PASSES : 0u) |
                 (settings.mac ? 0u : ISTHMUS_ANY_DESTINATION_MAC);
  if (settings.mac) {
    std::memcpy(config.device_mac, settings.mac->bytes.data(), sizeof config.device_mac);
  }
  constexpr std::uint64_t kMillisecond = 1'000'000;
  config.heartbeat_timeout_ns = settings.heartbeat_timeout_ms * kMillisecond;
  config.orphan_timeout_ns = std::max(settings.heartbeat_timeout_ms, settings.orphan_timeout_ms) * kMillisecond;
  program->maps_ =
      std::make_unique<SteerMaps>(SteerMaps::Fds{map("isthmus_config"), map("isthmus_peers"), map("isthmus_fleet"),
                                                 map("isthmus_local"), map("isthmus_native")},
                                  config);
  if (Status started = program->maps_->start(); !started) {
    return started.error();
  }
  if (Status mapped = program->map_heartbeats(); !mapped) {
    return mapped.error();
  }
  return program;
}

Status SteerProgram::load_object() {
  const LibbpfMessages messages;
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = ISTHMUS_STEER_PROGRAM);
  object_.reset(bpf_object__open_mem(kSteerObject, sizeof kSteerObject, &options));
  if (!object_) {
    return load_failure(errno, messages.last_line());
  }
  bpf_program* program = bpf_object__find_program_by_name(object_.get(), ISTHMUS_STEER_PROGRAM);
  for (const char* name : {"isthmus_xsks", ISTHMUS_HEARTBEATS_MAP}) {
    bpf_map* map = bpf_object__find_map_by_name(object_.get(), name);
    if (const int error = bpf_map__set_max_entries(map, settings_.queues); error != 0) {
      return load_failure(error, messages.last_line());
    }
  }
  if (Status prepared = prepare_forwarding(); !prepared) {
    return prepared;
  }
  if (const int error = bpf_object__load(object_.get()); error != 0) {
    return load_failure(error, messages.last_line());
  }
  program_ = bpf_program__fd(program);
  bpf_prog_info info{};
  std::uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program_, &info, &size) != 0) {
    return load_failure(errno, "reading its number");
  }
  id_ = info.id;
  return Ok{};
}

bool SteerProgram::kernel_gathers() {
  utsname system{};
  unsigned major = 0, minor = 0;
  return uname(&system) == 0 && std::sscanf(system.release, "%u.%u", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 6));
}

Status SteerProgram::prepare_forwarding() {
  bpf_object* const object = object_.get();
  bpf_program* const forward = bpf_object__find_program_by_name(object, ISTHMUS_FORWARD_PROGRAM);
  bpf_map* const constants = bpf_object__find_map_by_name(object, ISTHMUS_CONSTANTS_MAP);
  const KernelFlows* const flows = settings_.kernel_flows;
  isthmus_constants values{};
  values.fragments = settings_.fragments ? 1 : 0;
  constexpr std::uint32_t kEthernet = 14;
  values.gathered = kernel_gathers() ? static_cast<std::uint16_t>(settings_.longest.value() + kEthernet) : 0;
  values.secret = flows != nullptr ? flows->secret() : 0;
  values.chain_shift = flows != nullptr ? flows->chain_shift() : 0;
  if (const int error = bpf_map__set_initial_value(constants, &values, sizeof values); error != 0) {
    return load_failure(error, "setting its constants");
  }
  if (settings_.fragments) {  // a program is only called by one of its like
    bpf_program__set_flags(bpf_object__find_program_by_name(object, ISTHMUS_STEER_PROGRAM), BPF_F_XDP_HAS_FRAGS);
    bpf_program__set_flags(forward, BPF_F_XDP_HAS_FRAGS);
  }
  if (flows == nullptr) {
    bpf_program__set_autoload(forward, false);
    for (const char* name : KernelFlows::kMapNames) {
      bpf_map__set_autocreate(bpf_object__find_map_by_name(object, name), false);
    }
    return Ok{};
  }
  for (const auto& [name, fd] : flows->maps(settings_.fragments)) {
    if (const int error = bpf_map__reuse_fd(bpf_object__find_map_by_name(object, name), fd); error != 0) {
      return load_failure(error, name);
    }
  }
  return Ok{};
}

Status SteerProgram::map_heartbeats() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  heartbeats_bytes_ = (settings_.queues * sizeof(isthmus_heartbeat) + page - 1) / page * page;
  const int map = bpf_object__find_map_fd_by_name(object_.get(), ISTHMUS_HEARTBEATS_MAP);
  void* area = mmap(nullptr, heartbeats_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
  if (area == MAP_FAILED) {
    return load_failure(errno, "mapping the heartbeats");
  }
  heartbeats_ = static_cast<isthmus_heartbeat*>(area);
  return Ok{};
}

Status SteerProgram::attach(const Interface& interface, XdpMode mode, const SteerProgram* before) {
  interface_ = interface;
  auto attached = attached_program(interface);
  if (!attached) {
    return attached.error();
  }
  if (settings_.beside) {
    native_ = mode == XdpMode::kAuto && *attached ? (*attached)->native : mode != XdpMode::kGeneric;
    return *attached && !(*attached)->is_steer() ? Status(foreign_program(interface, **attached)) : Status(Ok{});
  }
  if (!*attached) {
    if (before != nullptr) {
      continue_counters(before->counters());
    }
    Status first = attach_new(mode);
    attached_ = first.ok();
    if (attached_) {
      pin_programs();
    }
    return first;
  }
  AttachedProgram& current = **attached;
  if (!current.is_steer()) {
    return foreign_program(interface, current);
  }
  const bool own = before != nullptr && current.id == before->id_;  // it has come back with the interface
  if (!own && engine_alive(interface, current)) {
    return Error{
        "another isthmus engine is running on the interface (steer program id " + std::to_string(current.id) + ")",
        interface.name, "stop the other engine first"};
  }
  native_ = mode == XdpMode::kAuto ? current.native : mode == XdpMode::kNative;
  predecessor_ = std::move(current);
  earlier_leases_ = leases_of(interface, *predecessor_);
  return Ok{};
}

Result<bool> SteerProgram::ensure_attached() {
  if (!attached_) {
    return false;
  }
  const auto found = attached_program(interface_);
  if (!found) {
    return found.error();
  }
  if (!*found) {
    Status again = attach_here(native_);
    if (again) {
      pin_programs();  // whoever took the link's pin away may have taken this one too
    }
    return again ? Result<bool>(true) : Result<bool>(again.error());
  }
  if ((*found)->id == id_) {
    return false;
  }
  return foreign_program(interface_, **found);
}

Status SteerProgram::attach_here(bool native) const {
  return attach_by_link(interface_, program_, native) ? Status(Ok{}) : attach_program(interface_, program_, native);
}

Status SteerProgram::attach_new(XdpMode mode) {
  if (mode != XdpMode::kGeneric) {
    Status attached = attach_here(true);
    if (attached.ok() || mode == XdpMode::kNative) {
      native_ = attached.ok();
      return attached;
    }
    native_error_ = attached.error().what;
  }
  native_ = false;
  return attach_here(false);
}

Status SteerProgram::apply(const SteerRules& rules) {
  if (Status applied = maps_->apply(rules); !applied) {
    return applied;
  }
  if (attached_ || interface_.index == 0 || settings_.beside) {
    return Ok{};
  }
  Status taken = take_over();
  attached_ = taken.ok();
  if (attached_) {
    pin_programs();
  }
  return taken;
}

Status SteerProgram::join(bool underlay, Realm realm) {
  if (settings_.kernel_flows == nullptr) {
    return Ok{};
  }
  if (Status written = maps_->set_role(underlay, realm); !written) {
    return written;
  }
  const std::uint32_t place = ISTHMUS_PROGS_FORWARD;
  const int forward = bpf_program__fd(bpf_object__find_program_by_name(object_.get(), ISTHMUS_FORWARD_PROGRAM));
  if (bpf_map_update_elem(programs_, &place, &forward, BPF_ANY) != 0) {
    return Error{std::string("cannot start forwarding of settled flows: ") + std::strerror(errno), interface_.name,
                 "check CAP_BPF"};
  }
  return Ok{};
}

void SteerProgram::pin_programs() noexcept {
  if (settings_.kernel_flows != nullptr) {
    pinned_ = pin_map(interface_, programs_);
  } else {
    unpin_map(interface_);
  }
  const auto map = [&](const char* name) { return bpf_object__find_map_fd_by_name(object_.get(), name); };
  pin_parts(interface_, program_,
            {{ISTHMUS_HEARTBEATS_MAP, map(ISTHMUS_HEARTBEATS_MAP)},
             {ISTHMUS_COUNTERS_MAP, counters()},
             {ISTHMUS_LEASES_MAP, settings_.kernel_flows != nullptr ? map(ISTHMUS_LEASES_MAP) : -1}});
}

Status SteerProgram::begin() {
  if (!settings_.beside) {
    return Ok{};
  }
  auto attached = attached_program(interface_);
  if (!attached) {
    return attached.error();
  }
  if (*attached && !(*attached)->is_steer()) {
    return foreign_program(interface_, **attached);
  }
  predecessor_ = *std::move(attached);
  earlier_leases_ = predecessor_ ? leases_of(interface_, *predecessor_) : std::nullopt;
  Status taken = take_over();
  attached_ = taken.ok();
  settings_.beside = !attached_;
  if (attached_) {
    pin_programs();
  }
  return taken;
}

std::vector<LeaseCount> SteerProgram::earlier_leases() const {
  std::vector<LeaseCount> counts;
  bpf_map_info info{};
  std::uint32_t size = sizeof info;
  if (!earlier_leases_ || bpf_obj_get_info_by_fd(earlier_leases_->get(), &info, &size) != 0 ||
      info.value_size != sizeof(isthmus_lease)) {
    return counts;
  }
  const std::size_t bytes = std::size_t{info.max_entries} * sizeof(isthmus_lease);
  void* const area = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, earlier_leases_->get(), 0);
  if (area == MAP_FAILED) {
    return counts;
  }
  const auto* const leases = static_cast<const isthmus_lease*>(area);
  for (std::uint32_t i = 0; i < info.max_entries; ++i) {
    counts.push_back(
        {__atomic_load_n(&leases[i].packets, __ATOMIC_RELAXED), __atomic_load_n(&leases[i].bytes, __ATOMIC_RELAXED)});
  }
  munmap(area, bytes);
  return counts;
}

Status SteerProgram::set_mac(const MacAddress& mac) {
  if (!settings_.mac || *settings_.mac == mac) {
    return Ok{};
  }
  Status written = maps_->set_mac(mac);
  if (written) {
    settings_.mac = mac;
  }
  return written;
}

Status SteerProgram::take_over() {
  if (const auto theirs = predecessor_ ? map_of(interface_, *predecessor_, ISTHMUS_COUNTERS_MAP) : std::nullopt) {
    continue_counters(theirs->get());
  }
  if (predecessor_ && predecessor_->native == native_) {
    Status replaced = replace_program(interface_, program_, *predecessor_);
    if (replaced) {
      predecessor_.reset();
    }
    return replaced;
  }
  if (predecessor_) {
    // The kernel does not run a program of each mode on one interface: changing the mode is the only case with a
    // moment without a program.
    if (Status removed = remove_program(interface_, *predecessor_); !removed) {
      return removed;
    }
    predecessor_.reset();
  }
  return attach_here(native_);
}

Status SteerProgram::set_socket(unsigned queue, int socket) {
  if (bpf_map_update_elem(sockets_, &queue, &socket, BPF_ANY) != 0) {
    return Error{
        std::string("cannot assign queue ") + std::to_string(queue) + " to its socket: " + std::strerror(errno),
        interface_.name};
  }
  return Ok{};
}

Status detach_steer(const std::string& interface) {
  const auto found = find_interface(interface);
  if (!found) {
    unpin_all(interface);
    return found.error();
  }
  const auto attached = attached_program(*found);
  if (!attached) {
    return attached.error();
  }
  const bool ours = *attached && (*attached)->is_steer();
  Status removed = ours ? remove_program(*found, **attached) : Status(Ok{});
  if (removed) {
    unpin_all(interface);
  }
  return removed;
}

int SteerProgram::counters() const noexcept {
  return bpf_object__find_map_fd_by_name(object_.get(), ISTHMUS_COUNTERS_MAP);
}

void SteerProgram::continue_counters(int of_map) noexcept {
  const auto counted = read_counters(of_map);
  if (!counted) {
    return;
  }
  std::vector<isthmus_steer_counters> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
#define ISTHMUS_STEER_COUNTER(field, ...) per_cpu.front().field = counted->field;
#include "dataplane/stats/counters.def"
  const std::uint32_t only = 0;
  static_cast<void>(bpf_map_update_elem(counters(), &only, per_cpu.data(), BPF_ANY));
}

Result<SteerCounters> steer_counters(const std::string& interface) {
  const auto found = find_interface(interface);
  if (!found) {
    return found.error();
  }
  const auto attached = attached_program(*found);
  if (!attached) {
    return attached.error();
  }
  if (!*attached || !(*attached)->is_steer()) {
    return Error{"the interface has no steer program", interface, "start the engine on it"};
  }
  const auto map = map_of(*found, **attached, ISTHMUS_COUNTERS_MAP);
  const auto counted = map ? read_counters(map->get()) : std::nullopt;
  if (!counted) {
    return Error{"the steer program has no counters", interface, "it is from another version; restart the engine"};
  }
  return *counted;
}

}  // namespace isthmus
