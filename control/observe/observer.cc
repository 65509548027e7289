#include "control/observe/observer.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "control/observe/flow_json.h"

namespace isthmus {
namespace {

constexpr std::size_t kChunk = std::size_t{64} << 10;
constexpr std::int64_t kSecondNs = 1'000'000'000;

std::int64_t clock_ns(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return std::int64_t{t.tv_sec} * kSecondNs + t.tv_nsec;
}

std::int64_t time_of(const FlowEntry& entry) {
  return std::visit([](const auto& value) { return value.time_ns; }, entry);
}

}  // namespace

struct Observer::Cursor {
  FlowFilter passes;
  std::int64_t since_ns = 0;
  std::uint64_t next = 0;
  std::uint64_t end = 0;  // where it does not follow
  bool follow = false;
  std::shared_ptr<Observer*> observer;
};

Observer::Observer(ObserverOptions options, Engine& engine, FlowNames& names)
    : options_(std::move(options)),
      engine_(engine),
      names_(names),
      drops_(engine.counters().drops),
      ring_(std::max<std::size_t>(options_.capacity, 1)) {}

Flow Observer::flow_of(const FlowEvent& event, std::int64_t clock_offset_ns) {
  Flow flow;
  flow.time_ns = static_cast<std::int64_t>(event.time_ns) + clock_offset_ns;
  flow.event = event;
  const auto party = event.from == Side::kFabric ? &FlowNames::remote_party : &FlowNames::party;
  flow.source =
      (names_.*party)(event.received.source, event.received.source_port, event.source_identity, event.source_cluster);
  flow.destination = names_.party(event.translated.destination, event.translated.destination_port,
                                  event.destination_identity, event.destination_cluster);
  if (event.verdict == FlowVerdict::kDropped && event.drop_reason < drops_.size()) {
    flow.drop = &drops_[event.drop_reason];
  }
  flow.service = names_.service(event.service);
  const FlowPeer& peer = names_.peer(event.peer);
  flow.peer = peer.underlay;
  flow.encapsulation = event.from == Side::kFabric ? peer.from : peer.to;
  flow.egress_policy = names_.policy(event.egress.rule);
  flow.ingress_policy = names_.policy(event.ingress.rule);
  return flow;
}

void Observer::poll() {
  batch_.clear();
  engine_.poll_flow_events(batch_);
  const std::int64_t now = clock_ns(CLOCK_REALTIME);
  const std::int64_t offset = now - clock_ns(CLOCK_BOOTTIME);
  // The events of each worker are in order; this merges those of several workers.
  std::stable_sort(batch_.begin(), batch_.end(),
                   [](const FlowEvent& a, const FlowEvent& b) { return a.time_ns < b.time_ns; });
  const std::uint64_t before = ring_.end();
  for (const FlowEvent& event : batch_) {
    Flow flow = flow_of(event, offset);
    metrics_.count(flow);
    ring_.push(std::move(flow));
  }
  seen_ += batch_.size();
  record_losses(now);
  if (ring_.end() != before && listener_) {
    listener_();
  }
}

// At most once a second, so that a flood does not fill the ring with records of losses.
void Observer::record_losses(std::int64_t now_ns) {
  if (now_ns - losses_recorded_ns_ < kSecondNs && now_ns >= losses_recorded_ns_) {
    return;
  }
  std::uint64_t unseen = 0;
  for (const FlowEventCount& count : engine_.flow_event_counts()) {
    unseen += count.sampled_out + count.lost;
  }
  if (unseen != unseen_) {
    ring_.push(LostFlows{now_ns, LostFlows::Where::kQueue, unseen - unseen_});
    unseen_ = unseen;
  }
  losses_recorded_ns_ = now_ns;
}

// Where reading begins: the last position from which the requested number of flows pass.
std::uint64_t Observer::start_of(const FlowQuery& query, const FlowFilter& filter, std::int64_t since_ns) const {
  const bool bounded = query.last.has_value() || query.since.empty();
  const unsigned requested = query.last.value_or(query.follow ? 0 : kDefaultLastFlows);
  std::uint64_t start = ring_.end();
  unsigned passed = 0;
  while (start > ring_.begin() && (!bounded || passed < requested)) {
    const FlowEntry& entry = ring_.at(start - 1);
    if (time_of(entry) < since_ns) {
      break;
    }
    const Flow* flow = std::get_if<Flow>(&entry);
    passed += flow != nullptr && filter(*flow) ? 1 : 0;
    --start;
  }
  return start;
}

Result<FlowReader> Observer::read(const FlowQuery& query) {
  auto cursor = std::make_shared<Cursor>();
  auto filter = make_flow_filter(query, drops_);
  if (!filter) {
    return filter.error();
  }
  if (!query.since.empty()) {
    const auto since = parse_since(query.since, clock_ns(CLOCK_REALTIME));
    if (!since) {
      return since.error();
    }
    cursor->since_ns = *since;
  }
  cursor->passes = std::move(*filter);
  cursor->next = start_of(query, cursor->passes, cursor->since_ns);
  cursor->end = ring_.end();
  cursor->follow = query.follow;
  cursor->observer = self_;
  return FlowReader([cursor]() -> std::optional<std::string> {
    Observer* const observer = *cursor->observer;
    return observer == nullptr ? std::nullopt : observer->next_lines(*cursor);
  });
}

std::optional<std::string> Observer::next_lines(Cursor& cursor) {
  if (!cursor.follow && cursor.next >= cursor.end) {
    return std::nullopt;
  }
  std::string lines;
  if (cursor.next < ring_.begin()) {
    const std::uint64_t missed = ring_.begin() - cursor.next;
    overtaken_ += missed;
    lines += encode_flow(LostFlows{clock_ns(CLOCK_REALTIME), LostFlows::Where::kRing, missed}, options_.node) + "\n";
    cursor.next = ring_.begin();
  }
  const std::uint64_t end = cursor.follow ? ring_.end() : cursor.end;
  for (; cursor.next < end && lines.size() < kChunk; ++cursor.next) {
    const FlowEntry& entry = ring_.at(cursor.next);
    const Flow* flow = std::get_if<Flow>(&entry);
    if (flow == nullptr || cursor.passes(*flow)) {
      lines += encode_flow(entry, options_.node) + "\n";
    }
  }
  if (lines.empty() && !cursor.follow && cursor.next >= cursor.end) {
    return std::nullopt;
  }
  return lines;
}

ObserverCounts Observer::counts() const {
  std::uint64_t unseen = 0;
  for (const FlowEventCount& count : engine_.flow_event_counts()) {
    unseen += count.sampled_out + count.lost;
  }
  return {seen_, unseen, overtaken_, ring_.size(), ring_.capacity(), static_cast<std::size_t>(self_.use_count() - 1)};
}

}  // namespace isthmus
