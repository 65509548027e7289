// admit: the slow path's loop over a burst's undecided packets.
//
// Ordering against publishers: they make new data visible first and then bump epoch words. A decision samples the words
// first and reads the tables afterwards. The snapshot was loaded before either, so its pointer is compared again before
// anything follows from the decision: if it has changed, a word may already carry the new value although the data read
// was old, and the decision is repeated.
#include "dataplane/slowpath/admit.h"

#include "dataplane/base/prefetch.h"
#include "dataplane/net/headers.h"
#include "dataplane/report/report.h"
#include "dataplane/slowpath/commit.h"
#include "dataplane/slowpath/open.h"
#include "dataplane/slowpath/openings.h"
#include "dataplane/slowpath/recheck.h"

namespace isthmus {
namespace {

// The bound of every packet's loop: the alternatives of a new connection, at most five, and races lost against other
// workers and publishers.
constexpr unsigned kAttempts = 12;

// Packets are prefetched for again so many before their turn: as many at once lose some of them (path/cycles.md).
constexpr unsigned kPrefetchAhead = 8;

bool snapshot_stands(const SlowContext& context) noexcept {
  return context.shared.snapshot.load(std::memory_order_acquire) == context.snapshot;
}

// What to try after the reply key of a new connection was taken, or after no backend was left: the next backends of the
// ring, then other source ports with the first one. False: nothing is left.
bool next_alternative(const Decision& decision, bool taken, bool ports_tried, Alternative& alternative) noexcept {
  if (taken && decision.frontend != nullptr && !alternative.other_port) {
    alternative.first_backend = decision.next_backend;
    return true;
  }
  if (ports_tried) {
    return false;
  }
  alternative = {0, true};
  return true;
}

// Of the packet's connection, for refusals.
std::uint64_t number_of(const SlowContext& context, const Packet& packet) noexcept {
  if (packet.line == nullptr) {
    return 0;
  }
  const FlowRef reference = FlowTable::ref(context.shared.flows->hit(packet.line));
  return (std::uint64_t{reference.sequence} << 32 | reference.slot) + 1;
}

void refuse(SlowContext& context, const Burst& burst, Packet& packet, DropReason reason) noexcept {
  packet.drop(reason);
  if (packet.line != nullptr) {
    tell_nothing(context.shared.flows->hit(packet.line));
  }
  const Decision& decision = context.decision;
  const FlowEventContext event = event_of(decision, false);
  if (decision.refused && decision.standing && decision.reason == reason) {
    context.refusals.remember(packet, number_of(context, packet), reason, decision.depends, context.now);
  }
  if (wants_drop_event(context, burst, packet)) {
    put_drop_event(context, packet, event);
  }
}

// The packet's connection has been opened by a pattern, which does not hold all that an event tells: the decision is
// made again, at most as often as the budget for events allows.
void report_opened(SlowContext& context, const Packet& packet) noexcept {
  if (wants_admitted_event(context, packet, true, false)) {
    decide(*context.snapshot, context.tables, facts_of(context, packet, Hit{}), {}, context.decision);
    put_admitted_event(context, packet, event_of(context.decision, true));
  }
}

// Decides until the decision is committed or refused. Returns the reason of a refusal. `committed`: what
// has become of it by a pattern; stands if the first decision comes to the same.
std::optional<DropReason> decide_packet(SlowContext& context, Packet& packet, Hit hit, const Hints* hints,
                                        std::optional<CommitResult> committed) noexcept {
  FlowTable& flows = *context.shared.flows;
  Decision& decision = context.decision;
  Alternative alternative;
  bool miss_is_sure = false, ports_tried = false;
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
    context.snapshot = context.shared.snapshot.load(std::memory_order_acquire);
    const bool reopens = hit && !packet.icmp_error && FlowTable::reopens(hit, packet.tcp_flags);
    PacketFacts facts = facts_of(context, packet, reopens ? Hit{} : hit);
    facts.alternative = alternative;
    facts.hints = attempt == 0 && !reopens ? hints : nullptr;
    decide(*context.snapshot, context.tables, facts, context.caches, decision);
    const bool stands = snapshot_stands(context);
    context.verdicts.settle(stands);
    if (!stands) {
      continue;
    }
    bool taken = false;
    if (!decision.refused) {
      const bool same = committed && decision.opens && decision.new_reply == context.patterned.reply;
      const CommitResult result = same ? *committed : commit(context, packet, decision, alternative.other_port, hit);
      committed.reset();
      if (result.outcome == Committed::kDone) {
        return std::nullopt;
      }
      if (result.outcome == Committed::kRefused) {
        return result.reason;
      }
      taken = result.outcome == Committed::kReplyTaken;
      ports_tried = ports_tried || (taken && (alternative.other_port || decision.translated));
    } else if (alternative.first_backend == 0 && !hit && !miss_is_sure) {
      // A lookup may miss an entry that is being moved.
      miss_is_sure = true;
      hit = flows.find_locked(context.worker, packet.key, packet.hash);
      if (!hit) {
        return decision.reason;
      }
    } else if (alternative.first_backend == 0) {
      return decision.reason;
    }
    if ((taken || decision.refused) && !hit && !next_alternative(decision, taken, ports_tried, alternative)) {
      return DropReason::kTranslationExhausted;
    }
  }
  return DropReason::kContended;
}

bool stands_by_parts(SlowContext& context, Packet& packet, const Hit& hit, Parts parts, const Hints* hints) noexcept {
  if (!is_by_parts(packet, hit) || !recheck(context, packet, hit, parts, hints)) {
    return false;
  }
  packet.block = hit.block;
  context.counters.revalidations.add();
  return true;
}

// For an event, which tells more than the refusal holds, the decision is made again, without the caches.
bool drop_refused(SlowContext& context, const Burst& burst, Packet& packet, std::uint32_t generation) noexcept {
  const auto reason = context.refusals.find(packet, number_of(context, packet), context.shared.flows->epochs(),
                                            generation, context.now);
  if (!reason) {
    return false;
  }
  packet.drop(*reason);
  if (wants_drop_event(context, burst, packet)) {
    if (packet.family == Family::kIpv4) {
      packet.key.clear_tail();
    }
    const Hit hit = context.shared.flows->hit(packet.line);
    decide(*context.snapshot, context.tables, facts_of(context, packet, hit), {}, context.decision);
    put_drop_event(context, packet, event_of(context.decision, false));
  }
  return true;
}

// What without_settled() reads for a packet.
void prefetch_settled(const SlowContext& context, const Packet& packet) noexcept {
  context.refusals.prefetch(packet);
  if (packet.line != nullptr) {
    prefetch_line(&packet.block->ipv6_source);
    context.shared.flows->prefetch_shared(packet.line);
  }
}

// Passes packets whose decision stands but for a peer that has moved, and drops those whose refusal stands. Returns the
// others.
PacketList without_settled(SlowContext& context, Burst& burst, std::uint32_t generation) noexcept {
  for (unsigned i = 0; i < burst.undecided.count; ++i) {
    prefetch_settled(context, burst.packets[burst.undecided.index[i]]);
  }
  PacketList rest;
  for (unsigned i = 0; i < burst.undecided.count; ++i) {
    Packet& packet = burst.packets[burst.undecided.index[i]];
    if (i + kPrefetchAhead < burst.undecided.count) {
      prefetch_settled(context, burst.packets[burst.undecided.index[i + kPrefetchAhead]]);
    }
    if (packet.line != nullptr &&
        stands_by_parts(context, packet, context.shared.flows->hit(packet.line), Parts::kPeers, nullptr)) {
      continue;
    }
    if (drop_refused(context, burst, packet, generation)) {
      continue;
    }
    rest.add(burst.undecided.index[i]);
    packet.block = nullptr;
    if (packet.family == Family::kIpv4) {
      packet.key.clear_tail();  // the fast path leaves it as it was
    }
  }
  return rest;
}

// An earlier packet of this burst may have opened the packet's connection. True: with a decision that holds, as forward
// would have found it.
bool opened_by_burst(SlowContext& context, Packet& packet, Hit& hit) noexcept {
  if (hit || !context.inserted.may_contain(packet.hash)) {
    return false;
  }
  hit = context.shared.flows->find(context.worker, packet.key);
  const EpochTable& epochs = context.shared.flows->epochs();
  if (!hit || packet.icmp_error) {
    return false;
  }
  packet.line = &hit.line();
  const bool asks = (packet.tcp_flags & (tcp_flag::kSyn | tcp_flag::kAck)) == tcp_flag::kSyn;
  if (hit.block == nullptr || asks || hit.block->origin != packet.origin || !epochs.is_current(*hit.block) ||
      hit.block->valid_until.value() != 0) {
    return false;
  }
  packet.block = hit.block;
  report_closing(context, packet);
  return true;
}

}  // namespace

void admit(SlowContext& context, Burst& burst) noexcept {
  const std::uint32_t generation = context.shared.flows->epochs().generation();
  const PacketList list = without_settled(context, burst, generation);
  context.inserted.clear();
  prefetch_decisions(context, burst, list);
  for (unsigned i = 0; i < list.count; ++i) {
    Packet& packet = burst.packets[list.index[i]];
    Hit hit = context.shared.flows->hit(packet.line);
    if (opened_by_burst(context, packet, hit)) {
      continue;
    }
    const bool as_prefetched = context.prefetches.states[i].connection == hit.connection;
    const Hints* hints = as_prefetched ? &context.prefetches.states[i].hints : nullptr;
    if (hit && stands_by_parts(context, packet, hit, Parts::kAll, hints)) {
      continue;
    }
    std::optional<CommitResult> committed;
    const bool may_open = hints != nullptr && !hit;
    if (may_open) {
      context.shared.flows->prefetch_insert(context.worker, kInsertsAhead);
      committed = open_by_pattern(context, packet, *hints, generation, hit);
      if (committed && committed->outcome == Committed::kDone) {
        report_opened(context, packet);
        continue;
      }
    }
    // Hints were made for no connection, if it has turned out that there is one.
    if (const auto reason = decide_packet(context, packet, hit, may_open && hit ? nullptr : hints, committed)) {
      if (context.decision.echo && context.decision.reason == *reason) {  // no refusal, which would stand
        packet.verdict = Verdict::kEcho;
        continue;
      }
      refuse(context, burst, packet, *reason);
      continue;
    }
    if (may_open) {
      learn_pattern(context, packet, *hints);
    }
    const Decision& decision = context.decision;
    if (decision.answers() && !decision.passes) {  // reported as the first reply
      continue;
    }
    const bool audited =
        decision.direction == Direction::kForward && (decision.egress_policy.outcome == PolicyOutcome::kAudited ||
                                                      decision.ingress_policy.outcome == PolicyOutcome::kAudited);
    const bool first = decision.opens && !packet.icmp_error;
    if (wants_admitted_event(context, packet, first, audited)) {
      put_admitted_event(context, packet, event_of(decision, first));
    }
  }
}

}  // namespace isthmus
