#include "perf/io/live_frames.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "perf/io/traffic.h"
#include "traffic_object.h"

namespace isthmus::perf {
namespace {

constexpr unsigned kBatch = 64;
constexpr std::size_t kMinFrame = 60;
// A call needs some 30 ms before its first frame, so each sends many.
constexpr int kFramesPerCall = 1 << 30;

[[nodiscard]] Error failure(const std::string& what, const std::string& where, int error) {
  return Error{what + ": " + std::strerror(error < 0 ? -error : error), where, "run as root"};
}

[[nodiscard]] int program_of(bpf_object* object, const char* name) {
  return bpf_program__fd(bpf_object__find_program_by_name(object, name));
}

[[nodiscard]] int map_of(bpf_object* object, const char* name) { return bpf_object__find_map_fd_by_name(object, name); }

[[nodiscard]] Status attach_to(const std::string& interface, int program) {
  const int error =
      bpf_xdp_attach(static_cast<int>(if_nametoindex(interface.c_str())), program, XDP_FLAGS_DRV_MODE, nullptr);
  return error == 0 ? Status(Ok{}) : Status(failure("cannot attach", interface, error));
}

}  // namespace

void Traffic::ObjectCloser::operator()(bpf_object* object) const noexcept { bpf_object__close(object); }

Traffic::Object Traffic::load_object() {
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "perf_traffic");
  Object object(bpf_object__open_mem(kTrafficObject, sizeof kTrafficObject, &options));
  if (object && bpf_object__load(object.get()) != 0) {
    object.reset();
  }
  return object;
}

Result<std::unique_ptr<Traffic>> Traffic::load() {
  auto traffic = std::make_unique<Traffic>();
  traffic->object_ = load_object();
  if (!traffic->object_) {
    return failure("cannot load the traffic programs", "perf/io", errno);
  }
  return traffic;
}

Status Traffic::set_frame(const std::string& interface, std::span<const std::uint8_t> frame, const Flows& flows,
                          unsigned stamp_at) {
  if (frame.size() < kMinFrame || flows.offset + 2 > PUMP_HEADER_BYTES || stamp_at >= PUMP_HEADER_BYTES) {
    return Error{"unsuitable frame: " + std::to_string(frame.size()) + " bytes, flow field at " +
                     std::to_string(flows.offset) + ", stamp at " + std::to_string(stamp_at),
                 interface, "use at least 60 bytes, with flow field and stamp within the first 128"};
  }
  interface_index_ = static_cast<int>(if_nametoindex(interface.c_str()));
  frame_.assign(frame.begin(), frame.end());
  pump_template header{};
  std::memcpy(header.header, frame.data(), std::min<std::size_t>(frame.size(), PUMP_HEADER_BYTES));
  header.vary_at = flows.offset;
  header.flows = flows.count;
  header.first_value = flows.first;
  header.stamp_at = stamp_at;
  const std::uint32_t only = 0;
  if (bpf_map_update_elem(map_of(object_.get(), "pump_templates"), &only, &header, BPF_ANY) != 0) {
    return failure("cannot set the frame", interface, errno);
  }
  return Ok{};
}

Status Traffic::set_spread(const Spread& spread) {
  const int map = map_of(object_.get(), "pump_templates");
  const std::uint32_t only = 0;
  pump_template header{};
  if (!std::has_single_bit(spread.count) || !std::has_single_bit(spread.ports) || spread.count < spread.ports ||
      spread.count < 2) {
    return Error{"connections and L4 ports must be powers of two", "perf/io"};
  }
  if (bpf_map_lookup_elem(map, &only, &header) != 0) {
    return failure("cannot read the frame", "perf/io", errno);
  }
  header.vary_at = spread.port_at;
  header.first_value = spread.lowest_port;
  header.spread_mask = spread.count - 1;
  header.port_bits = static_cast<std::uint32_t>(std::countr_zero(spread.ports));
  header.address_at = spread.address_at;
  header.first_address = spread.first_address;
  header.id_at = spread.id_at;
  header.payload_at = spread.payload_at;
  if (bpf_map_update_elem(map, &only, &header, BPF_ANY) != 0) {
    return failure("cannot set the connections", "perf/io", errno);
  }
  return Ok{};
}

Status Traffic::pump(int frames, unsigned batch) {
  xdp_md context{};
  context.data_end = static_cast<std::uint32_t>(frame_.size());
  context.ingress_ifindex = static_cast<std::uint32_t>(interface_index_);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame_.data(),
              .data_size_in = static_cast<std::uint32_t>(frame_.size()), .ctx_in = &context,
              .ctx_size_in = sizeof context, .repeat = frames, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
              .batch_size = batch);
  const int error = bpf_prog_test_run_opts(program_of(object_.get(), "pump"), &options);
  return error == 0 || error == -EINTR ? Status(Ok{})
                                       : Status(failure("cannot run the pump program", "perf/io", error));
}

Status Traffic::pump_until(const std::atomic<bool>& stop) {
  while (!stop.load()) {
    if (Status pumped = pump(kFramesPerCall, kBatch); !pumped) {
      return pumped;
    }
  }
  return Ok{};
}

Status Traffic::pump_burst(unsigned frames, unsigned batch) { return pump(static_cast<int>(frames), batch); }

std::uint32_t Traffic::pumped() const {
  pump_template header{};
  const std::uint32_t only = 0;
  static_cast<void>(bpf_map_lookup_elem(map_of(object_.get(), "pump_templates"), &only, &header));
  return header.next;
}

Status Traffic::attach_sink(const std::string& interface) {
  return attach_to(interface, program_of(object_.get(), "sink"));
}

Sunk Traffic::sunk() const {
  std::vector<sink_counts> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
  const std::uint32_t only = 0;
  Sunk sunk;
  sunk.latency.resize(LATENCY_BUCKETS);
  if (bpf_map_lookup_elem(map_of(object_.get(), "sinks"), &only, per_cpu.data()) != 0) {
    return sunk;
  }
  std::uint64_t first = ~std::uint64_t{0}, last = 0;
  for (const sink_counts& one : per_cpu) {
    sunk.frames += one.packets;
    sunk.stamped += one.stamped;
    if (one.stamped != 0) {
      first = std::min<std::uint64_t>(first, one.first);
      last = std::max<std::uint64_t>(last, one.last);
    }
    for (std::size_t bucket = 0; bucket < sunk.latency.size(); ++bucket) {
      sunk.latency[bucket] += one.latency[bucket];
    }
  }
  if (sunk.stamped != 0 && last - first + 1 > sunk.stamped) {
    sunk.missing = last - first + 1 - sunk.stamped;
  }
  return sunk;
}

std::vector<Traffic::Sample> Traffic::take_samples() {
  const int map = map_of(object_.get(), "samples");
  const std::uint32_t only = 0;
  auto kept = std::make_unique<frame_samples>();
  std::vector<Sample> taken;
  if (bpf_map_lookup_elem(map, &only, kept.get()) == 0) {
    for (std::uint32_t i = 0; i < std::min<std::uint32_t>(kept->taken, SAMPLES); ++i) {
      const std::uint32_t length = kept->length[i];
      taken.push_back({length, {kept->bytes[i], kept->bytes[i] + std::min<std::uint32_t>(length, SAMPLE_BYTES)}});
    }
    kept->taken = 0;
    static_cast<void>(bpf_map_update_elem(map, &only, kept.get(), BPF_ANY));
  }
  return taken;
}

double Sunk::latency_at(double share) const {
  const auto rank = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(stamped)));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < latency.size(); ++bucket) {
    seen += latency[bucket];
    if (seen >= rank && seen != 0) {  // the bucket's upper end
      return std::ldexp(1 + static_cast<double>(bucket % 8 + 1) / 8, static_cast<int>(bucket / 8));
    }
  }
  return 0;
}

Status Traffic::attach(const std::string& interface, const char* program) {
  Object object = load_object();
  if (!object) {
    return failure("cannot load the traffic programs", interface, errno);
  }
  Status attached = attach_to(interface, program_of(object.get(), program));
  others_.emplace_back(interface, std::move(object));
  return attached;
}

Status Traffic::attach_bare(const std::string& interface, const char* program, const bare_work& work,
                            const std::string& to) {
  if (Status attached = attach(interface, program); !attached) {
    return attached;
  }
  bpf_object* const object = others_.back().second.get();
  const std::uint32_t only = 0, index = if_nametoindex(to.c_str());
  if (bpf_map_update_elem(map_of(object, "bare_works"), &only, &work, BPF_ANY) != 0 ||
      bpf_map_update_elem(map_of(object, "bare_devices"), &only, &index, BPF_ANY) != 0) {
    return failure("cannot set what is forwarded to " + to, interface, errno);
  }
  return Ok{};
}

Status Traffic::set_bare_socket(const char* interface, int socket) {
  const std::uint32_t only = 0;
  for (const auto& [name, object] : others_) {
    if (name == interface && bpf_map_update_elem(map_of(object.get(), "bare_sockets"), &only, &socket, BPF_ANY) == 0) {
      return Ok{};
    }
  }
  return Error{"no \"bare\" program is attached to assign the socket to", interface};
}

}  // namespace isthmus::perf
