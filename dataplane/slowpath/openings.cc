#include "dataplane/slowpath/openings.h"

#include <optional>

#include "dataplane/net/address_hash.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/parse.h"

namespace isthmus {
namespace {

using Kind = OpeningOutcome::Kind;

// A client that has sent its SYN so often, for so long, has not been answered. Stacks send the fourth one after 3 s at
// the earliest.
constexpr std::uint64_t kAskedBefore = 3;
constexpr std::uint32_t kAsksFor = 3;  // seconds
// ICMP errors about the first packets: a node gives a neighbour up after 3 s.
constexpr std::uint32_t kFirstSeconds = 10;

constexpr std::uint8_t kSctpAbort = 6;  // RFC 9260, 3.2

bool is_of_endpoint(const Connection& connection) noexcept {
  return (connection.shared.user_flags() & published_flag(Direction::kForward)) != 0;
}

void post_outcome(SlowContext& context, const Connection& connection, Kind kind) noexcept {
  const FlowKey& forward = connection.line(Direction::kForward).key;
  const FlowKey& reply = connection.line(Direction::kReply).key;
  const FrontendKey key{forward.realm, forward.destination(), forward.protocol,
                        L4Port{forward.destination_port.host()}};
  const std::uint64_t hash = address_hash(key.realm, key.vip);
  const Frontend* frontend = context.snapshot->shard(hash).find(key, hash);
  if (frontend == nullptr || !frontend->watched) {
    return;
  }
  const BackendEntry* backend =
      frontend->index->find(*frontend->backends, reply.source(), L4Port{reply.source_port.host()});
  if (backend == nullptr) {
    return;
  }
  const OpeningOutcome outcome{frontend->service, backend->id, forward.source(), kind, is_of_endpoint(connection)};
  OpeningMemory& memory = context.shared.openings;
  const bool told = outcome.failed()
                        ? memory.failed(outcome.service, outcome.backend, connection.shared.created, context.now)
                        : memory.answered(outcome.service, outcome.backend, context.now);
  if (told) {
    context.mailbox.post(outcome);
  }
}

// What the first packet of a reply direction says. Nothing: nothing of the backend. A reset that answers a SYN has no
// sequence number of its own (RFC 9293, 3.10.7.1), which who does not see the SYN need not know. An SCTP abort may
// answer what is wrong with the client's chunk as well as a closed port.
std::optional<Kind> kind_of_reply(const Packet& packet) noexcept {
  const auto bytes = packet.ip_bytes - static_cast<std::uint32_t>(packet.l4 - packet.ip);
  if (packet.key.protocol == IpProtocol::kTcp) {
    if (packet.fragment != Fragment::kNone || (packet.tcp_flags & (tcp_flag::kSyn | tcp_flag::kRst)) == 0) {
      return std::nullopt;
    }
    if ((packet.tcp_flags & tcp_flag::kRst) == 0) {
      return Kind::kAnswered;
    }
    const bool refuses = (packet.tcp_flags & tcp_flag::kAck) != 0 && net::at<net::Tcp>(packet.l4)->sequence == Be32{};
    return refuses ? std::optional(Kind::kRefused) : std::nullopt;
  }
  if (packet.key.protocol == IpProtocol::kSctp && packet.fragment == Fragment::kNone && bytes > sizeof(net::Sctp)) {
    return packet.l4[sizeof(net::Sctp)] == kSctpAbort ? std::nullopt : std::optional(Kind::kAnswered);
  }
  return Kind::kAnswered;
}

// Of an ICMP error. A port's owner alone says that nobody listens; that a host is not reached, it cannot say.
std::optional<Kind> kind_of_error(const Packet& packet) noexcept {
  const auto* icmp = net::at<net::Icmp>(packet.l4);
  const bool v4 = packet.family == Family::kIpv4;
  if (icmp->type != (v4 ? net::icmp4::kUnreachable : net::icmp6::kUnreachable)) {
    return std::nullopt;
  }
  if (icmp->code == (v4 ? net::icmp4::kCodePort : net::icmp6::kCodePort)) {
    return sender_of(packet) == packet.key.source() ? std::optional(Kind::kRefused) : std::nullopt;
  }
  return icmp->code == (v4 ? net::icmp4::kCodeHost : net::icmp6::kCodeAddress) ? std::optional(Kind::kUnreachable)
                                                                               : std::nullopt;
}

std::uint32_t age_of(const SlowContext& context, const Connection& connection) noexcept {
  const Seconds created = connection.shared.created;
  return context.now.value() > created.value() ? context.now.value() - created.value() : 0;
}

}  // namespace

void tell_first_reply(SlowContext& context, const Packet& packet) noexcept {
  const Hit hit = context.shared.flows->hit(packet.line);
  if (!hit.shared().is_watched()) [[likely]] {
    return;
  }
  // A client that has ended the connection before may have provoked the answer.
  constexpr std::uint32_t kEnded = mark::kFin | mark::kRst;
  const bool ended = (hit.connection->line(Direction::kForward).seen.load(std::memory_order_relaxed) & kEnded) != 0;
  const std::optional<Kind> kind = kind_of_reply(packet);
  if (hit.shared().take_watch() && kind && (!ended || *kind == Kind::kAnswered)) {
    post_outcome(context, *hit.connection, *kind);
  }
}

void tell_asked_again(SlowContext& context, const Hit& hit) noexcept {
  const Connection& connection = *hit.connection;
  if (connection.shared.is_watched() && lifecycle::is_unanswered(connection) &&
      hit.line().packets.load(std::memory_order_relaxed) >= kAskedBefore && age_of(context, connection) >= kAsksFor &&
      hit.shared().take_watch()) {
    post_outcome(context, connection, Kind::kSilent);
  }
}

void tell_icmp_error(SlowContext& context, const Packet& packet, const Hit& hit) noexcept {
  const Connection& connection = *hit.connection;
  if (!connection.shared.is_watched() || hit.direction != Direction::kReply ||
      age_of(context, connection) > kFirstSeconds) {
    return;
  }
  const bool tcp = connection.protocol() == IpProtocol::kTcp;
  const bool heard = (connection.line(Direction::kReply).seen.load(std::memory_order_relaxed) & mark::kSeen) != 0;
  const std::optional<Kind> kind = kind_of_error(packet);
  if (kind && !heard && (!tcp || lifecycle::is_unanswered(connection)) && hit.shared().take_watch()) {
    post_outcome(context, connection, *kind);
  }
}

void tell_unanswered(SlowContext& context, const Connection& connection) noexcept {
  post_outcome(context, connection, Kind::kSilent);
}

void tell_nothing(const Hit& hit) noexcept {
  if (hit.shared().is_watched()) {
    (void)hit.shared().take_watch();
  }
}

}  // namespace isthmus
