#include "test/storm/storm_device.h"

#include <algorithm>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "test/storm/mutate.h"

namespace isthmus::storm {
namespace {

struct IpPart {
  IpAddress source, destination;
  std::uint8_t protocol = 0;
  std::size_t header = 0, total = 0;
};

// The IP packet at `bytes`, if it is one and as long as its header says. (Entering a tunnel takes no hop, so that an
// inner packet may have come with none left.)
bool read_ip(std::span<const std::uint8_t> bytes, std::uint16_t type, IpPart& ip) noexcept {
  if (type == static_cast<std::uint16_t>(EtherType::kIpv4) && bytes.size() >= sizeof(net::Ipv4)) {
    const auto* h = net::at<net::Ipv4>(bytes.data());
    ip = {IpAddress::ipv4(h->source), IpAddress::ipv4(h->destination), h->protocol, h->header_bytes(),
          h->total_length.host()};
    return bytes[0] >> 4 == 4 && ip.header >= sizeof(net::Ipv4) && ip.total == bytes.size();
  }
  if (type == static_cast<std::uint16_t>(EtherType::kIpv6) && bytes.size() >= sizeof(net::Ipv6)) {
    const auto* h = net::at<net::Ipv6>(bytes.data());
    ip = {IpAddress::ipv6(h->source), IpAddress::ipv6(h->destination), h->next_header, sizeof(net::Ipv6),
          sizeof(net::Ipv6) + h->payload_length.host()};
    return bytes[0] >> 4 == 6 && ip.total == bytes.size();
  }
  return false;
}

// nullptr: the tunnel packet `ip`, at `bytes`, may leave.
const char* check_tunnel(const ExitRules& rules, const IpPart& ip, std::span<const std::uint8_t> bytes) noexcept {
  constexpr std::size_t kBehindIp = sizeof(net::Udp) + 8 + sizeof(net::Ethernet);
  if (ip.protocol != static_cast<std::uint8_t>(IpProtocol::kUdp) || bytes.size() < ip.header + kBehindIp) {
    return "leaves the underlay without a tunnel";
  }
  const auto* udp = net::at<net::Udp>(bytes.data() + ip.header);
  if (std::find(rules.own.begin(), rules.own.end(), ip.source) == rules.own.end() ||
      std::find(rules.peers.begin(), rules.peers.end(), ip.destination) == rules.peers.end()) {
    return "tunnel from or to an address that is no end of ours";
  }
  if (std::find(rules.ports.begin(), rules.ports.end(), udp->destination.host()) == rules.ports.end() ||
      udp->length.host() + ip.header != ip.total) {
    return "outer UDP header with a wrong port or length";
  }
  if (ip.header == sizeof(net::Ipv4) && net::checksum(bytes.data(), ip.header) != 0) {
    return "outer IPv4 header with a wrong checksum";
  }
  const std::size_t inner_at = ip.header + kBehindIp;
  const auto* ethernet = net::at<net::Ethernet>(bytes.data() + inner_at - sizeof(net::Ethernet));
  IpPart inner;
  return read_ip(bytes.subspan(inner_at), ethernet->type.host(), inner) ? nullptr : "inner packet that is not one";
}

const char* check_exit(const ExitRules& rules, std::span<const std::uint8_t> frame) noexcept {
  if (frame.size() < sizeof(net::Ethernet) + sizeof(net::Ipv4)) {
    return "frame too short for an IP packet";
  }
  IpPart ip;
  const auto bytes = frame.subspan(sizeof(net::Ethernet));
  if (!read_ip(bytes, net::at<net::Ethernet>(frame.data())->type.host(), ip)) {
    return "not an IP packet, or not as long as its header says";
  }
  return rules.tunnels ? check_tunnel(rules, ip, bytes) : nullptr;
}

}  // namespace

struct StormDevice::State {
  const Options& options;
  FramePool* pool = nullptr;
  Random random;
  bool running = true;
  std::uint64_t received = 0, sent = 0;
  std::string violation;

  explicit State(const Options& o) : options(o), random(o.seed) {}

  std::uint32_t make(std::uint8_t* at) noexcept {
    const auto& templates = options.templates;
    const FrameText& from = templates[random.below(static_cast<std::uint32_t>(templates.size()))];
    auto length = static_cast<std::uint32_t>(from.size());
    std::memcpy(at, from.data(), length);
    constexpr std::uint32_t kLongest = 2100;
    for (std::uint32_t changes = random.below(4); changes > 1; --changes) {  // half of the packets stay as they are
      const FrameText& other = templates[random.below(static_cast<std::uint32_t>(templates.size()))];
      length = mutate({at, kLongest}, length, other, random);
    }
    return length;
  }
  void check(std::span<const std::uint8_t> frame) {
    const char* wrong = check_exit(options.exit, frame);
    if (wrong == nullptr || !violation.empty()) {
      return;
    }
    violation = options.name + ": " + wrong + ":";
    for (const std::uint8_t byte : frame.first(std::min<std::size_t>(frame.size(), 160))) {
      constexpr char kDigits[] = "0123456789abcdef";
      violation += {' ', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
};

namespace {

template <typename State>
class StormQueue final : public DeviceQueue {
 public:
  explicit StormQueue(std::shared_ptr<State> state) : state_(std::move(state)) {}
  unsigned receive(std::span<Frame> out) noexcept override {
    unsigned count = 0;
    while (state_->running && count < out.size()) {
      const std::uint32_t chunk = state_->pool->allocate();
      if (chunk == kNoChunk) {
        break;
      }
      std::uint8_t* data = state_->pool->chunk_start(chunk) + kFrameHeadroom;
      out[count++] = {data, state_->make(data), chunk};
    }
    state_->received += count;
    return count;
  }
  unsigned transmit(std::span<const Frame> frames) noexcept override {
    for (const Frame& frame : frames) {
      state_->check({frame.data, frame.length});
      state_->pool->release(frame.chunk);
    }
    state_->sent += frames.size();
    return static_cast<unsigned>(frames.size());
  }
  void flush() noexcept override {}
  [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
  bool arm() noexcept override { return true; }
  [[nodiscard]] QueueCounters counters() const noexcept override { return {}; }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace

StormDevice::StormDevice(Options options) : options_(std::move(options)), state_(std::make_shared<State>(options_)) {}
StormDevice::~StormDevice() = default;

Result<std::unique_ptr<DeviceQueue>> StormDevice::open_queue(WorkerId, unsigned, FramePool& pool) {
  state_->pool = &pool;
  return std::unique_ptr<DeviceQueue>(std::make_unique<StormQueue<State>>(state_));
}

void StormDevice::set_running(bool running) noexcept { state_->running = running; }
std::uint64_t StormDevice::received() const noexcept { return state_->received; }
std::uint64_t StormDevice::sent() const noexcept { return state_->sent; }
std::uint32_t StormDevice::missing_frames() const noexcept {
  return state_->pool->chunks() - state_->pool->available();
}
const std::string& StormDevice::violation() const noexcept { return state_->violation; }

}  // namespace isthmus::storm
