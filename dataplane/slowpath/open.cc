#include "dataplane/slowpath/open.h"

#include <algorithm>
#include <array>

#include "dataplane/api/identity.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

IpAddress source_of(const FlowKey& key) noexcept {
  return IpAddress::ipv4(Be32::raw(static_cast<std::uint32_t>(key.head)));
}

// Digest of all that the steps of decide() take from an address: what find_end() finds, the identity of its prefix
// where policy asks for that, the one as which it receives, its route, and whether it is one that nothing may be opened
// to.
std::uint64_t kind_of(const SlowContext& context, Realm realm, const IpAddress& address, std::uint64_t hash,
                      const End& end) noexcept {
  const Snapshot& snapshot = *context.snapshot;
  const bool by_prefix = end.identity == identity::kWorld || identity::is_unlabelled(end.identity);
  const Identity prefix = by_prefix ? snapshot.policy->by_prefix(realm, address, identity::kWorld) : Identity{};
  const Identity receiver = snapshot.policy->receives_as(realm, address, end.identity);
  const bool is_vip = snapshot.shard(hash).has_vip(realm, address, hash);
  const bool is_ours = address == context.shared.options.translation_ipv4;
  const KnownEnds& known = context.known_ends;
  // Who receives as another identity has one of no prefix.
  const Identity other = receiver != end.identity ? receiver : prefix;
  std::uint64_t digest = known.mix(0, end.identity.value() | std::uint64_t{other.value()} << 32);
  digest = known.mix(digest, end.node.value() | std::uint64_t{end.cluster.value()} << 32 |
                                 std::uint64_t{end.published} << 48 | std::uint64_t{is_vip} << 49 |
                                 std::uint64_t{is_ours} << 50);
  return known.mix(digest, reinterpret_cast<std::uintptr_t>(snapshot.routes->find(realm, address)));
}

// Its identity has changed a moment ago, and the previous one is accepted too, for a time.
bool in_grace(const SlowContext& context, const End& end) noexcept { return context.now < end.grace_until; }

// What decides by time has no kind. `hash`: address_hash().
KnownEnd known_end(SlowContext& context, Realm realm, const IpAddress& address, std::uint64_t hash) noexcept {
  KnownEnd made;
  made.address = address.as_ipv4().wire();
  made.snapshot = context.snapshot->number;
  made.word = EpochTable::of_address(hash);
  made.value = context.tables.epochs.load(made.word);
  End end;
  find_end(*context.snapshot, context.shared.endpoints, realm, address, hash, end);
  made.cluster = end.cluster;
  made.realm = realm;
  if (end.published) {
    context.unknown_sources.forget(end.cluster, hash);
  }
  made.kind = in_grace(context, end) ? 0 : kind_of(context, realm, address, hash, end);
  made.holder = context.shared.flows->source_holder(realm, address);
  return made;
}

// For ends of which one at least is not known.
void look_up_ends(SlowContext& context, Realm realm, const Hints& hints, PatternedOpening& opening) noexcept {
  const auto end = [&](const KnownEnd*& known, std::uint64_t word, std::uint64_t hash, KnownEnd& made) {
    const bool remembers = known == nullptr;
    made = remembers ? known_end(context, realm, IpAddress::ipv4(Be32::raw(static_cast<std::uint32_t>(word))), hash)
                     : *known;
    known = &made;
    return remembers;
  };
  const bool source = end(opening.source, opening.reply.head >> 32, hints.source_hash, opening.made[0]);
  const bool target = end(opening.target, opening.reply.head, hints.target_hash, opening.made[1]);
  if (source && opening.made[0].kind != 0) {
    context.known_ends.remember(hints.source_hash, opening.made[0]);
  }
  if (target && opening.made[1].kind != 0) {
    context.known_ends.remember(hints.target_hash, opening.made[1]);
  }
}

void find_ends(SlowContext& context, Realm realm, const Hints& hints, PatternedOpening& opening) noexcept {
  const EpochTable& epochs = context.tables.epochs;
  const std::uint32_t snapshot = context.snapshot->number;
  const auto source = static_cast<std::uint32_t>(opening.reply.head >> 32);
  const auto target = static_cast<std::uint32_t>(opening.reply.head);
  opening.source = context.known_ends.find(realm, source, hints.source_hash, snapshot, epochs);
  opening.target = context.known_ends.find(realm, target, hints.target_hash, snapshot, epochs);
  if (opening.source == nullptr || opening.target == nullptr) [[unlikely]] {
    look_up_ends(context, realm, hints, opening);
  }
}

// A backend's address counts for the cluster that its service says it is in.
std::uint64_t target_kind(const KnownEnd& target, const BackendEntry* backend) noexcept {
  constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15ULL;
  return backend != nullptr ? target.kind + (backend->cluster.value() + 1) * kOdd : target.kind;
}

// What a pattern is found by. False: decide.
bool describe_opening(SlowContext& context, const Packet& packet, const Hints& hints,
                      PatternedOpening& opening) noexcept {
  const FlowKey& key = packet.key;
  const EngineOptions& options = context.shared.options;
  const Snapshot& snapshot = *context.snapshot;
  const BackendEntry* backend = hints.backend;
  if (!snapshot.aliases.empty() || !is_plain_opening(packet) || hints.snapshot != &snapshot ||
      (hints.frontend != nullptr && (backend == nullptr || !hints.frontend->has_patterns())) ||
      check_header(options, key, Direction::kForward) || key.destination() == options.translation_ipv4) {
    return false;
  }
  if (key.protocol == IpProtocol::kUdp &&
      snapshot.is_backend({key.realm, source_of(key), key.protocol, L4Port{key.source_port.host()}})) {
    return false;
  }
  opening.reply.write_ipv4(hints.reply);
  find_ends(context, key.realm, hints, opening);
  if (opening.source->kind == 0 || opening.target->kind == 0) [[unlikely]] {
    return false;
  }
  opening.service = hints.frontend != nullptr ? EpochTable::of_service(hints.frontend->service) : EpochIndex{0};
  opening.service_value = context.tables.epochs.load(opening.service);
  opening.reply_symmetric = symmetric_hash(opening.reply);
  const ClusterId cluster = backend != nullptr ? backend->cluster : opening.target->cluster;
  const PeerId owner =
      cluster == options.cluster ? kNoPeer : snapshot.clusters->owner(cluster, opening.reply_symmetric);
  opening.key.origin = packet.origin.word();
  opening.key.source = opening.source->kind;
  opening.key.target = target_kind(*opening.target, backend);
  opening.key.rest = opening.reply.source_port.wire() | std::uint64_t{static_cast<std::uint8_t>(key.protocol)} << 16 |
                     std::uint64_t{backend != nullptr} << 24 | std::uint64_t{owner.value()} << 32;
  opening.key.snapshot = snapshot.number;
  return true;
}

// The words of this connection's ends and service, which a pattern leaves out, in the blocks of both directions.
void set_words(const Pattern& pattern, const PatternedOpening& opening, DirectionBlock& block,
               DirectionBlock& reply_block) noexcept {
  std::uint32_t sum = pattern.sum;
  const auto set = [&](std::uint8_t place, EpochIndex word, std::uint32_t value) {
    block.epoch_index[place] = reply_block.epoch_index[place] = word;
    block.epoch_value[place] = reply_block.epoch_value[place] = static_cast<std::uint16_t>(value);
    sum += value - pattern.unused;
  };
  set(pattern.source_place, opening.source->word, opening.source->value);
  set(pattern.target_place, opening.target->word, opening.target->value);
  if (pattern.service_place != Pattern::kNoPlace) {
    set(pattern.service_place, opening.service, opening.service_value);
  }
  block.epoch_sum = reply_block.epoch_sum = sum;
}

void copy_blocks(const Pattern& pattern, const PatternedOpening& opening, const Packet& packet, DirectionBlock& block,
                 DirectionBlock& reply_block) noexcept {
  block = pattern.block;
  reply_block = pattern.reply_block;
  set_words(pattern, opening, block, reply_block);
  if ((block.flags & DirectionBlock::kTunnel) != 0) {
    block.outer_port = outer_port_of(opening.reply_symmetric);
  }
  if ((reply_block.flags & DirectionBlock::kTunnel) != 0) {
    reply_block.outer_port = outer_port_of(symmetric_hash(packet.key));
  }
  set_opening_rewrites(packet.key, opening.reply, block, reply_block);
}

void describe_connection(const SlowContext& context, const Pattern& pattern, const PatternedOpening& opening,
                         const Packet& packet, const Hints& hints, NewConnection& connection) noexcept {
  connection.forward = packet.key;
  connection.forward_hash = packet.hash;
  connection.reply = opening.reply;
  connection.reply_hash = hints.reply_hash;
  connection.first = Direction::kForward;
  connection.marks = first_marks(packet.key.protocol, packet.tcp_flags);
  connection.watched =
      hints.frontend != nullptr && hints.frontend->watched && opening.source->cluster == context.shared.options.cluster;
  connection.holder = {opening.source->holder, pattern.peer_holder};
  static_cast<ConnectionTraits&>(connection) = pattern.traits;
}

}  // namespace

std::optional<CommitResult> open_by_pattern(SlowContext& context, Packet& packet, const Hints& hints,
                                            std::uint32_t generation, Hit& hit) noexcept {
  PatternedOpening& opening = context.patterned;
  opening.plain = describe_opening(context, packet, hints, opening);
  const Pattern* pattern =
      opening.plain ? context.patterns.find(opening.key, context.tables.epochs, generation) : nullptr;
  if (pattern == nullptr) {
    return std::nullopt;
  }
  // All words have been sampled (admit.cc).
  if (context.shared.snapshot.load(std::memory_order_acquire) != context.snapshot) {
    return std::nullopt;
  }
  FlowTable& flows = *context.shared.flows;
  NewConnection& connection = context.opening;
  connection.taken = {flows.take_block(context.worker), flows.take_block(context.worker)};
  if (connection.taken[0] == 0 || connection.taken[1] == 0) {  // the first may have been freed for the second only
    flows.give_back_blocks(context.worker, connection);
    return std::nullopt;
  }
  DirectionBlock &block = flows.taken_block(connection.taken[0]), &reply_block = flows.taken_block(connection.taken[1]);
  copy_blocks(*pattern, opening, packet, block, reply_block);
  describe_connection(context, *pattern, opening, packet, hints, connection);
  connection.forward_block = &block;
  connection.reply_block = &reply_block;
  std::array<AdjacencyId, 2> made;
  if ((pattern->on_link && !find_neighbour(context, packet, block, made[0])) ||
      (pattern->reply_on_link && !find_neighbour(context, packet, reply_block, made[1]))) {
    flows.give_back_blocks(context.worker, connection);
    context.shared.adjacencies.give_back(made[0]);
    return std::nullopt;
  }
  return insert_opening(context, packet, made, hit);
}

namespace {

// What a pattern may be made of: see patterns.h. The ends must be what the tables said of them when it was decided.
bool may_become_pattern(const SlowContext& context, const Packet& packet, const Hints& hints) noexcept {
  const Decision& decision = context.decision;
  const PatternedOpening& opening = context.patterned;
  const auto audited = [](const PolicyVerdict& verdict) { return verdict.outcome == PolicyOutcome::kAudited; };
  if (!opening.plain || !decision.opens || decision.answers() || decision.passes || decision.translated ||
      !decision.reply_known || decision.valid_until.value() != 0 || decision.backend != hints.backend ||
      decision.next_backend > 1 || context.snapshot->number != opening.key.snapshot ||
      decision.new_reply != opening.reply || audited(decision.egress_policy) || audited(decision.ingress_policy)) {
    return false;
  }
  const Realm realm = packet.key.realm;
  return kind_of(context, realm, source_of(packet.key), hints.source_hash, decision.source) == opening.source->kind &&
         kind_of(context, realm, source_of(opening.reply), hints.target_hash, decision.destination) ==
             opening.target->kind;
}

// The place of a word in the decision's dependencies, and not one before `first`.
std::uint8_t place_of(const Dependencies& depends, EpochIndex word, std::uint8_t first) noexcept {
  const auto at = std::find(depends.index.begin() + first, depends.index.end(), word);
  return static_cast<std::uint8_t>(at - depends.index.begin());
}

// Takes a word out of what the pattern itself depends on. False: the decision was made with another value of it.
bool leave_out(const Dependencies& depends, std::uint8_t place, std::uint32_t value, Pattern& pattern) noexcept {
  if (place == Pattern::kNoPlace || depends.value[place] != static_cast<std::uint16_t>(value)) {
    return false;
  }
  pattern.fixed[place] = 0;
  pattern.sum -= value - depends.unused;
  return true;
}

}  // namespace

void learn_pattern(SlowContext& context, const Packet& packet, const Hints& hints) noexcept {
  const PatternedOpening& opening = context.patterned;
  if (!may_become_pattern(context, packet, hints)) {
    return;
  }
  Pattern* pattern = context.patterns.place(opening.key);
  if (pattern == nullptr) {
    return;
  }
  const Decision& decision = context.decision;
  const Dependencies& depends = decision.depends;
  pattern->key.snapshot = 0;
  pattern->fixed = depends.index;
  pattern->sum = depends.sum;
  pattern->unused = depends.unused;
  pattern->verified_at = 0;
  pattern->source_place = place_of(depends, opening.source->word, 0);
  pattern->target_place = place_of(depends, opening.target->word, pattern->source_place + 1);
  pattern->service_place = Pattern::kNoPlace;
  if (!leave_out(depends, pattern->source_place, opening.source->value, *pattern) ||
      !leave_out(depends, pattern->target_place, opening.target->value, *pattern)) {
    return;
  }
  if (opening.service != 0) {
    pattern->service_place = place_of(depends, opening.service, 0);
    if (!leave_out(depends, pattern->service_place, opening.service_value, *pattern)) {
      return;
    }
  }
  pattern->on_link = decision.egress.on_link;
  pattern->reply_on_link = decision.reply_egress.on_link;
  pattern->block = decision.block;
  pattern->reply_block = decision.reply_block;
  const NewConnection& connection = context.opening;
  pattern->traits = connection;
  pattern->peer_holder = context.shared.flows->holder_of(connection).peer;
  pattern->key = opening.key;
}

}  // namespace isthmus
