#include <cstring>
#include <utility>

#include "dataplane/base/prefetch.h"
#include "dataplane/path/host.h"

namespace isthmus {
namespace {

constexpr std::uint64_t kMacMask = 0xffff'ffff'ffff;

bool is_for(std::uint64_t mac, const Frame& frame) noexcept {
  static_assert(sizeof(net::Ethernet) >= sizeof mac);
  if (frame.length < sizeof(net::Ethernet)) [[unlikely]] {
    return false;
  }
  std::uint64_t destination = 0;
  std::memcpy(&destination, frame.data, sizeof destination);
  return (destination & kMacMask) == mac;
}

void set_aside(HostShare& host, const Frame& frame) noexcept { host.frames[host.count++] = frame; }

std::size_t place_of(const PathContext& context, const Packet& packet) noexcept {
  return static_cast<std::size_t>(packet.frame - context.host.first);
}

}  // namespace

bool begin_shared(PathContext& context, Burst& burst) noexcept {
  HostShare& host = context.host;
  host.rules = context.snapshot->host.get();
  host.first = burst.frames.data();
  host.taken = 0;
  const std::uint64_t mac = context.shared.adjacencies.mac(burst.device);
  unsigned kept = 0;
  for (unsigned i = 0; i < burst.count; ++i) {
    const Frame frame = burst.frames[i];
    prefetch_line(burst.frames[i + Burst::kAhead].data);
    if (host.rules == nullptr || !is_for(mac, frame)) [[unlikely]] {
      set_aside(host, frame);
      continue;
    }
    host.lengths[kept] = frame.length;
    burst.frames[kept++] = frame;
  }
  burst.count = kept;
  return kept != 0;
}

bool ask_host_rules(PathContext& context, Packet& packet) noexcept {
  HostShare& host = context.host;
  const std::size_t place = place_of(context, packet);
  if ((host.taken >> place & 1) != 0) {
    return false;
  }
  if (host.rules->takes({packet.frame->data, host.lengths[place]})) {
    host.taken |= std::uint64_t{1} << place;
    return false;
  }
  packet.frame->length = host.lengths[place];
  set_aside(host, *packet.frame);
  packet.verdict = Verdict::kToHost;
  return true;
}

unsigned leave_to_host(PathContext& context, Burst& burst, std::uint64_t& misses) noexcept {
  PacketList& list = burst.undecided;
  const unsigned all = std::exchange(list.count, 0);
  for (unsigned i = 0; i < all; ++i) {
    Packet& packet = burst.packets[list.index[i]];
    if (ask_host_rules(context, packet)) {
      misses -= packet.line == nullptr ? 1 : 0;
    } else {
      list.add(list.index[i]);
    }
  }
  return all - list.count;
}

}  // namespace isthmus
