// traffic: generates frames and counts them; see `traffic --help`.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "dataplane/io/memory/pcap_file.h"
#include "dataplane/net/headers.h"
#include "perf/io/live_frames.h"
#include "perf/traffic/stamped_frame.h"

namespace isthmus::perf {
namespace {

constexpr std::size_t kMaxFrame = 65535;

struct Options {
  std::string source = "10.1.0.1", destination = "10.2.0.1", tunnel_from, tunnel_to, order = "random", pcap, interface;
  std::string source_mac = "02:00:00:00:00:01", destination_mac = "02:00:00:00:00:02";
  std::uint32_t connections = 1000, frame_bytes = 64, vni = 2, seed = 1;
  std::uint64_t count = 10'000;
  double seconds = 1;
  std::uint16_t port = 7000;
};

int fail(const std::string& what) {
  std::fprintf(stderr, "traffic: %s\n", what.c_str());
  return 1;
}

std::optional<MacAddress> parse_mac(const std::string& text) {
  MacAddress mac;
  unsigned bytes[6];
  if (std::sscanf(text.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4],
                  &bytes[5]) != 6) {
    return std::nullopt;
  }
  std::transform(bytes, bytes + 6, mac.bytes.begin(), [](unsigned byte) { return static_cast<std::uint8_t>(byte); });
  return mac;
}

Result<TrafficShape> shape_of(const Options& o) {
  TrafficShape shape;
  const auto source = IpAddress::parse(o.source), destination = IpAddress::parse(o.destination);
  if (!source || !destination || source->is_ipv4() != destination->is_ipv4()) {
    return Error{"source and destination are not addresses of the same family", o.source + " " + o.destination};
  }
  if (o.tunnel_from.empty() != o.tunnel_to.empty()) {
    return Error{"a tunnel needs both ends", o.tunnel_from + o.tunnel_to, "give --tunnel-from and --tunnel-to"};
  }
  if (!o.tunnel_from.empty()) {
    const auto from = IpAddress::parse(o.tunnel_from), to = IpAddress::parse(o.tunnel_to);
    if (!from || !to || !from->is_ipv4() || !to->is_ipv4()) {
      return Error{"tunnel ends are not IPv4 addresses", o.tunnel_from + " " + o.tunnel_to};
    }
    shape.tunnel_from = *from;
    shape.tunnel_to = *to;
  }
  const auto source_mac = parse_mac(o.source_mac), destination_mac = parse_mac(o.destination_mac);
  if (!source_mac || !destination_mac) {
    return Error{"invalid MAC address", o.source_mac + " " + o.destination_mac};
  }
  shape.source = *source;
  shape.destination = *destination;
  shape.source_mac = *source_mac;
  shape.destination_mac = *destination_mac;
  shape.connections = o.connections;
  shape.frame_bytes = o.frame_bytes;
  shape.vni = o.vni;
  shape.destination_port = L4Port{o.port};
  return shape;
}

// Draws the connection of each frame.
class Sequence {
 public:
  Sequence(const Options& o) : order_(o.order), connections_(o.connections), random_(o.seed) {
    if (order_ == "zipf") {
      double sum = 0;
      for (std::uint32_t rank = 1; rank <= connections_; ++rank) {
        cumulative_.push_back(sum += 1.0 / rank);
      }
    }
  }
  std::uint32_t next() {
    if (order_ == "sequential") {
      return static_cast<std::uint32_t>(count_++ % connections_);
    }
    if (order_ == "random") {
      return std::uniform_int_distribution<std::uint32_t>(0, connections_ - 1)(random_);
    }
    const double drawn = std::uniform_real_distribution<double>(0, cumulative_.back())(random_);
    const auto rank = std::lower_bound(cumulative_.begin(), cumulative_.end(), drawn) - cumulative_.begin();
    return std::min(static_cast<std::uint32_t>(rank), connections_ - 1);
  }

 private:
  std::string order_;
  std::uint32_t connections_;
  std::mt19937 random_;
  std::vector<double> cumulative_;
  std::uint64_t count_ = 0;
};

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count());
}

int make(const Options& o) {
  const auto shape = shape_of(o);
  if (!shape) {
    return fail(shape.error().text());
  }
  auto writer = PcapWriter::create(o.pcap);
  if (!writer) {
    return fail(writer.error().text());
  }
  Sequence sequence(o);
  for (std::uint64_t n = 0; n < o.count; ++n) {
    (*writer)->write(stamped_frame(*shape, sequence.next(), {n, now_ns()}));
  }
  (*writer)->flush();
  std::printf("%llu frames\n", static_cast<unsigned long long>(o.count));
  return 0;
}

int count(const Options& o) {
  const auto frames = read_pcap(o.pcap, kMaxFrame);
  if (!frames) {
    return fail(frames.error().text());
  }
  std::set<std::pair<IpAddress::ByteArray, std::uint16_t>> connections;
  std::set<std::uint64_t> sequences;
  std::uint64_t stamped = 0, tunnelled = 0, wrong = 0;
  for (const FrameBytes& frame : *frames) {
    const auto read = read_stamped(frame);
    if (!read) {
      continue;
    }
    ++stamped;
    tunnelled += read->tunnelled ? 1 : 0;
    wrong += read->checksum_ok ? 0 : 1;
    sequences.insert(read->stamp.sequence);
    connections.emplace(read->source.bytes(), read->source_port);
  }
  const std::uint64_t span = sequences.empty() ? 0 : *sequences.rbegin() - *sequences.begin() + 1;
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "frames %zu\nstamped %llu\ntunnelled %llu\nbad checksums %llu\nconnections %zu\nduplicates %llu\nmissing %llu\n",
      frames->size(), n(stamped), n(tunnelled), n(wrong), connections.size(), n(stamped - sequences.size()),
      n(span - sequences.size()));
  return wrong == 0 ? 0 : 1;
}

int send(const Options& o) {
  const auto shape = shape_of(o);
  if (!shape) {
    return fail(shape.error().text());
  }
  if (shape->tunnel_from || o.connections > kTrafficPorts) {
    return fail(
        "send varies only the source port: use plain frames and at most 50000 connections, or `make` a capture");
  }
  auto traffic = Traffic::load();
  if (!traffic) {
    return fail(traffic.error().text());
  }
  std::vector<std::uint8_t> frame = stamped_frame(*shape, 0, {0, now_ns()});
  const unsigned port_at = shape->source.is_ipv4() ? 34 : 54;
  const unsigned stamp_at = port_at + static_cast<unsigned>(sizeof(net::Udp));
  if (shape->source.is_ipv4()) {
    frame[40] = frame[41] = 0;  // no UDP checksum, because the port varies
  }
  if (Status set = (*traffic)->set_frame(
          o.interface, frame, {.count = o.connections, .offset = port_at, .first = kTrafficFirstPort}, stamp_at);
      !set) {
    return fail(set.error().text());
  }
  struct sigaction ignore {};
  ignore.sa_handler = [](int) {};
  sigaction(SIGUSR1, &ignore, nullptr);
  std::atomic<bool> stop{false};
  Status pumped = Ok{};
  std::thread pump([&] { pumped = (*traffic)->pump_until(stop); });
  std::this_thread::sleep_for(std::chrono::duration<double>(o.seconds));
  stop = true;
  pthread_kill(pump.native_handle(), SIGUSR1);
  pump.join();
  return pumped ? 0 : fail(pumped.error().text());
}

int sink(const Options& o) {
  auto traffic = Traffic::load();
  if (!traffic) {
    return fail(traffic.error().text());
  }
  if (Status attached = (*traffic)->attach_sink(o.interface); !attached) {
    return fail(attached.error().text());
  }
  std::printf("ready\n");
  std::fflush(stdout);
  std::this_thread::sleep_for(std::chrono::duration<double>(o.seconds));
  const Sunk sunk = (*traffic)->sunk();
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("frames %llu\nMpps %.4f\nstamped %llu\nmissing %llu\n", n(sunk.frames),
              static_cast<double>(sunk.frames) / o.seconds / 1e6, n(sunk.stamped), n(sunk.missing));
  for (const auto& [name, share] : {std::pair{"median", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1.0}}) {
    std::printf("latency us %s %.1f\n", name, sunk.latency_at(share) / 1e3);
  }
  return 0;
}

void add_shape(CLI::App& app, Options& o) {
  app.add_option("--source", o.source, "inner source, IPv4 or IPv6; further ones are counted up from it (10.1.0.1)");
  app.add_option("--destination", o.destination, "inner destination (10.2.0.1)");
  app.add_option("--port", o.port, "destination port, UDP (7000)");
  app.add_option("--connections", o.connections,
                 "number of connections; they differ by source port, then by source (1000)")
      ->check(CLI::Range(1U, 100'000'000U));
  app.add_option("--frame", o.frame_bytes, "bytes of the Ethernet frame; at least headers and stamp (64)")
      ->check(CLI::Range(60U, 9014U));
  app.add_option("--source-mac", o.source_mac, "(02:00:00:00:00:01)");
  app.add_option("--destination-mac", o.destination_mac, "(02:00:00:00:00:02)");
  app.add_option("--tunnel-from", o.tunnel_from, "encapsulate in VXLAN, from this IPv4 address");
  app.add_option("--tunnel-to", o.tunnel_to, "outer destination, IPv4; port 8472");
  app.add_option("--vni", o.vni, "VNI of the tunnel (2)")->check(CLI::Range(0U, 0xffffffU));
}

}  // namespace
}  // namespace isthmus::perf

int main(int argc, char** argv) {
  using namespace isthmus::perf;
  Options o;
  CLI::App app("Generates UDP frames that carry a sequence number and a time, and counts them.", "traffic");
  app.require_subcommand(1);
  CLI::App* make_command = app.add_subcommand("make", "write frames to a capture file");
  add_shape(*make_command, o);
  make_command->add_option("--pcap", o.pcap, "capture file")->required();
  make_command->add_option("--count", o.count, "frames (10000)")->check(CLI::Range(1ULL, 1'000'000'000ULL));
  make_command
      ->add_option("--order", o.order, "order of the connections: random, sequential or zipf (exponent 1.0) (random)")
      ->check(CLI::IsMember({"random", "sequential", "zipf"}));
  make_command->add_option("--seed", o.seed, "seed of random and zipf (1)");
  CLI::App* count_command =
      app.add_subcommand("count", "count the frames of a capture file: missing, duplicates, bad checksums");
  count_command->add_option("--pcap", o.pcap, "capture file")->required();
  CLI::App* send_command = app.add_subcommand("send",
                                              "send out of an interface, as live XDP frames (root; the other end of a "
                                              "veth needs an XDP program)");
  add_shape(*send_command, o);
  send_command->add_option("--interface", o.interface, "interface name")->required();
  send_command->add_option("--seconds", o.seconds, "duration (1)")->check(CLI::Range(0.01, 86400.0));
  CLI::App* sink_command =
      app.add_subcommand("sink",
                         "count and drop all frames that reach an interface, in XDP (root): rate, loss and "
                         "latency from the sender, plain or in VXLAN; prints \"ready\" first");
  sink_command->add_option("--interface", o.interface, "interface name")->required();
  sink_command->add_option("--seconds", o.seconds, "duration (1)")->check(CLI::Range(0.01, 86400.0));
  CLI11_PARSE(app, argc, argv);
  return *make_command ? make(o) : *count_command ? count(o) : *send_command ? send(o) : sink(o);
}
