#include "test/fuzz/sequence/ledger.h"

#include <algorithm>
#include <tuple>

namespace isthmus::test {
namespace {

constexpr std::size_t kEthernet = 14, kIpv4 = 20, kIpv6 = 40;
constexpr std::uint32_t kHealth = 4;
constexpr std::int64_t kMostWaiting = 64;

void must(bool holds) {
  if (!holds) {
    __builtin_trap();
  }
}

std::uint64_t dropped(const EngineCounters& counters) {
  std::uint64_t sum = 0;
  for (const DropCount& drop : counters.drops) {
    sum += drop.packets;
  }
  return sum;
}

bool is_icmp_error(const Dissected& packet) {
  if (packet.protocol == IpProtocol::kIcmp) {
    return packet.icmp_type == 3 || packet.icmp_type == 11 || packet.icmp_type == 12;
  }
  return packet.protocol == IpProtocol::kIcmpv6 && packet.icmp_type < 128;
}

// The length in the IP header is that of the frame, but for the zeros that make it long enough for Ethernet.
void check_length(const FrameBytes& frame) {
  must(frame.size() >= kEthernet + kIpv4);
  const auto word = [&](std::size_t at) { return static_cast<std::size_t>(frame[at] << 8 | frame[at + 1]); };
  const bool v4 = word(12) == 0x0800;
  must(v4 || (word(12) == 0x86dd && frame.size() >= kEthernet + kIpv6));
  const std::size_t length = kEthernet + (v4 ? word(kEthernet + 2) : word(kEthernet + 4) + kIpv6);
  must(frame.size() == std::max<std::size_t>(length, kShortestFrame));
  must(std::all_of(frame.begin() + static_cast<std::ptrdiff_t>(length), frame.end(),
                   [](std::uint8_t byte) { return byte == 0; }));
}

// The quoted packet is one that the error's receiver has sent: from its address, as it was.
void check_quote(const Dissected& error) {
  const FrameBytes& quoted = error.quoted;
  const bool v4 = error.protocol == IpProtocol::kIcmp;
  const std::size_t header = v4 ? kIpv4 : kIpv6;
  must(quoted.size() >= header + 8);
  const std::size_t length = v4 ? static_cast<std::size_t>(quoted[2] << 8 | quoted[3])
                                : static_cast<std::size_t>(quoted[4] << 8 | quoted[5]) + kIpv6;
  FrameBytes frame(kEthernet, 0);
  frame[12] = v4 ? 0x08 : 0x86;
  frame[13] = v4 ? 0x00 : 0xdd;
  frame.insert(frame.end(), quoted.begin(), quoted.end());
  frame.resize(kEthernet + length, 0);
  Dissected seen = dissect(frame);
  must(seen.source == error.destination);
  if (quoted.size() >= length) {
    must(seen.errors.empty());
  } else {
    must(std::find(seen.errors.begin(), seen.errors.end(), "IP checksum") == seen.errors.end());
  }
}

}  // namespace

Ledger::Ledger(Fleet& fleet) : fleet_(fleet), before_(fleet.rig().counters()) {}

void Ledger::inject(bool underlay, const FrameBytes& frame, bool damaged) {
  must((underlay ? fleet_.rig().underlay() : fleet_.rig().local()).inject(frame));
  ++injected_;
  damaged_ = damaged_ || damaged;
}

void Ledger::send_probe(PeerId peer, std::uint32_t sequence) {
  probes_ += fleet_.rig().engine().send_probe(peer, sequence, sequence % 2 == 0) ? 1 : 0;
}

Ledger::Round Ledger::run() {
  PathRig& rig = fleet_.rig();
  fleet_.pass(Nanoseconds{1000});
  rig.engine().run_round(WorkerId{0});
  EngineEvents events = rig.engine().poll_events();
  std::uint64_t answers = events.probe_answers.size();
  if (!events.neighbours.empty()) {
    fleet_.serve_neighbours(events);
    rig.engine().run_round(WorkerId{0});
    events = rig.engine().poll_events();
    answers += events.probe_answers.size();
  }
  Round round;
  for (MemoryDevice* device : {&rig.underlay(), &rig.local()}) {
    while (auto frame = device->take()) {
      round.out.push_back({device == &rig.underlay(), *frame, dissect(*frame)});
      check_frame(round.out.back());
    }
  }
  const EngineCounters after = rig.counters();
  round.removed = after.connections.removed;
  round.single = injected_ == 1 && round.out.size() == 1 && waiting_ == 0 && !damaged_ &&
                 after.fragments_waiting == before_.fragments_waiting && after.icmp_sent == before_.icmp_sent &&
                 after.icmp_copied == before_.icmp_copied && after.echo_answered == before_.echo_answered &&
                 after.probes_answered == before_.probes_answered;
  settle(round, after, answers);
  return round;
}

void Ledger::settle(const Round& round, const EngineCounters& after, std::uint64_t answers) {
  const auto grown = [&](auto member) { return static_cast<std::int64_t>(after.*member - before_.*member); };
  const auto count = [](std::uint64_t number) { return static_cast<std::int64_t>(number); };
  const std::int64_t probes_out = std::count_if(round.out.begin(), round.out.end(), [&](const Output& out) {
    return out.packet.tunnelled && out.packet.vni == kHealth && out.packet.source == fleet_.rig().at.gateway;
  });
  const std::int64_t answered = grown(&EngineCounters::probes_answered);
  const std::int64_t in = count(injected_), out = count(round.out.size()) - probes_out;
  must(grown(&EngineCounters::rx_packets) == in);
  must(grown(&EngineCounters::tx_packets) == count(round.out.size()));
  probes_ += answered - probes_out;
  must(probes_ >= 0);
  const std::int64_t most = waiting_ + grown(&EngineCounters::neighbour_waits);
  waiting_ += in + grown(&EngineCounters::icmp_sent) + grown(&EngineCounters::icmp_copied) - out -
              count(dropped(after) - dropped(before_)) - answered - count(answers) -
              grown(&EngineCounters::fragments_waiting) -
              (grown(&EngineCounters::fragments_joined) - grown(&EngineCounters::assembled)) +
              (grown(&EngineCounters::fragments_made) - grown(&EngineCounters::packets_fragmented) -
               grown(&EngineCounters::tunnels_fragmented)) -
              grown(&EngineCounters::path_mtu_claims);
  must(waiting_ <= std::min(most, kMostWaiting) && waiting_ >= -probes_);
  check_connections(after);
  damaged_ = damaged_ && waiting_ + probes_ + count(after.fragments_waiting) > 0;
  injected_ = 0;
  before_ = after;
}

void Ledger::close() {
  run();
  constexpr std::uint64_t kLongerThanFramesWait = 2'000'000'000;
  fleet_.pass(Nanoseconds{kLongerThanFramesWait});
  run();
  must(waiting_ <= 0);
  check_table(before_);
}

void Ledger::check_frame(const Output& out) const {
  check_length(out.bytes);
  if (damaged_) {
    return;
  }
  const Dissected& packet = out.packet;
  must(packet.errors.empty());
  must(packet.ttl > 0);
  const Actors& at = fleet_.rig().at;
  if (packet.tunnelled) {
    must(out.underlay && packet.outer_source == at.gateway && fleet_.is_tunnel_end(packet.outer_destination));
    must(packet.vni > 1 && packet.vni != 9 && packet.vni != 10 && packet.outer_ttl == 64);
  } else if (!out.underlay) {
    must(Prefix::parse(packet.destination.is_ipv4() ? "10.1.0.0/16" : "fd00:1::/48")->contains(packet.destination));
  }
  if (is_icmp_error(packet)) {
    check_quote(packet);
  }
}

void Ledger::check_connections(const EngineCounters& now) const {
  const FlowCounts& flows = now.connections;
  must(flows.created - flows.removed == flows.now);
  must(flows.half_open <= flows.now && flows.now <= flows.capacity && flows.expired <= flows.removed);
}

// Every connection is listed once, and no two share a key.
void Ledger::check_table(const EngineCounters& now) const {
  using Key = std::tuple<IpProtocol, IpAddress, L4Port, IpAddress, L4Port>;
  std::vector<Key> forward, reply;
  for (const FlowRecord& flow : fleet_.rig().flows()) {
    const bool icmp = flow.protocol == IpProtocol::kIcmp || flow.protocol == IpProtocol::kIcmpv6;
    forward.emplace_back(flow.protocol, flow.client, flow.client_port, flow.frontend, flow.frontend_port);
    if (!icmp) {
      reply.emplace_back(flow.protocol, flow.backend, flow.backend_port, flow.translated_client,
                         flow.translated_client_port);
    }
  }
  must(forward.size() == now.connections.now);
  for (std::vector<Key>* keys : {&forward, &reply}) {
    std::sort(keys->begin(), keys->end());
    must(std::adjacent_find(keys->begin(), keys->end()) == keys->end());
  }
}

}  // namespace isthmus::test
