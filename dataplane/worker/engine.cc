// The engine: owns tables, devices and workers; control's only interface to the data plane.
#include "dataplane/api/engine.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "dataplane/base/mix.h"
#include "dataplane/conntrack/state_file.h"
#include "dataplane/handdown/hand_down.h"
#include "dataplane/publish/publisher.h"
#include "dataplane/worker/engine_counts.h"
#include "dataplane/worker/engine_options.h"
#include "dataplane/worker/flow_view.h"
#include "dataplane/worker/hand_over.h"
#include "dataplane/worker/handoff.h"
#include "dataplane/worker/worker.h"

namespace isthmus {
namespace {

class EngineImplementation final : public Engine {
 public:
  EngineImplementation(const EngineOptions& options, unsigned workers)
      : shared_(options, workers),
        publisher_(shared_),
        desired_workers_(workers),
        event_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~EngineImplementation() override {
    stop();
    close(event_fd_);
  }

  [[nodiscard]] Status open_flows() {
    const EngineOptions& options = shared_.options;
    FlowTable::Options table;
    table.name = options.name;
    table.directory = options.state_directory;
    table.keep_state = options.keep_state;
    table.beside = options.beside;
    table.connections = options.connections;
    table.half_open_limit = options.half_open_limit;
    table.workers = desired_workers_;
    table.timeouts = options.timeouts;
    if (KernelFlows* const down = options.hand_down.flows.get(); down != nullptr) {
      table.leases = down->leases();
      table.epochs = EpochTable::words_at(down->epochs());
      table.hot_packets_per_second = options.hand_down.packets_per_second;
    }
    auto flows = FlowTable::open(table, shared_.quiescence);
    if (!flows) {
      return flows.error();
    }
    shared_.flows = std::move(*flows);
    make_refusals();
    shared_.adjacencies.on_release([this](const IpAddress& next_hop) {
      shared_.flows->epochs().bump(EpochTable::of_endpoint(shared_.options.realm, next_hop));
    });
    if (options.hand_down.flows != nullptr) {
      hand_down_ = std::make_unique<HandDown>(shared_, desired_workers_);
      shared_.peers_moved = [this](const Snapshot& snapshot, const std::set<PeerId>& changed) {
        hand_down_->peers_moved(snapshot, changed);
      };
    }
    return Ok{};
  }

  Result<DeviceId> add_device(std::unique_ptr<Device> device) override {
    if (!workers_.empty() || devices_.size() == kMaxDevices) {
      return Error{"device added to a running engine, or more than 64 devices", device->name(),
                   "add at most 64 devices, before start"};
    }
    const DeviceId id{static_cast<std::uint8_t>(devices_.size())};
    static_cast<void>(shared_.adjacencies.set_device(id, device->mac(), device->mtu()));
    device->join(id == shared_.options.underlay_device, shared_.options.realm);
    shared_.shares_with_host |= std::uint64_t{device->shares_with_host()} << id.value();
    devices_.push_back(std::move(device));
    up_.push_back(true);
    return id;
  }
  Device& device(DeviceId id) override { return *devices_[id.value()]; }
  std::vector<DeviceCondition> check_devices() override;

  Status start() override {
    if (shared_.options.beside) {
      if (Status taken = shared_.flows->take(handed_table_.get()); !taken) {
        return taken;
      }
    }
    if (workers_.empty()) {
      if (Status opened = open_workers(); !opened) {
        return opened;
      }
    }
    count_earlier();
    if (Status started = start_workers(); !started) {
      return started;
    }
    for (auto& device : devices_) {
      if (Status begun = device->begin(); !begun) {
        return begun;
      }
    }
    if (shared_.options.beside) {  // the tables were published before
      end_earlier();
    }
    start_hand_down();
    return Ok{};
  }

  Result<HandedEngine> hand_over(bool dropped) override;
  Status resume() override {
    Status started = start_workers();
    if (started) {
      start_hand_down();
    }
    return started;
  }
  Status adopt(HandedEngine handed) override;

  // Packets of some devices are handed to the workers that they are for.
  void set_handoff() {
    const std::uint64_t handed = workers_.size() > 1 ? handed_out(shared_.options.worker_handoff, devices_) : 0;
    handoff_ = std::make_unique<Handoff>(handed != 0 ? desired_workers_ : 0, shared_.options.tunnel, random_word());
    for (auto& worker : workers_) {
      worker->set_handoff(handed != 0 ? handoff_.get() : nullptr, handed);
    }
  }

  [[nodiscard]] Status open_workers() {
    for (unsigned w = 0; w < desired_workers_; ++w) {
      Worker::Setup setup = setup_of(w);
      auto pool = FramePool::create(frames_of_worker(shared_.options, devices_));
      if (!pool) {
        return pool.error();
      }
      setup.pool = std::move(*pool);
      for (auto& device : devices_) {
        auto queue = device->open_queue(setup.id, desired_workers_, *setup.pool);
        if (!queue) {
          return queue.error();
        }
        setup.queues.push_back(std::move(*queue));
      }
      workers_.push_back(std::make_unique<Worker>(shared_, std::move(setup)));
    }
    set_handoff();
    return Ok{};
  }

  void stop() override {
    if (hand_down_ != nullptr) {
      hand_down_->stop();
    }
    stop_workers();
  }

  unsigned run_round(WorkerId worker) override { return workers_[worker.value()]->round(); }
  void hand_down_round(bool look) override {
    if (hand_down_ != nullptr) {
      static_cast<void>(hand_down_->round(look));
    }
  }

  Status publish(const TableDelta& delta) override {
    if (auto status = publisher_.apply(delta); !status) {
      return status;
    }
    const SteerChange change = publisher_.take_steer_change();
    if (steered_ && change.empty()) {
      return Ok{};
    }
    for (const auto* gone : {&change.removed.fleet, &change.removed.local_sources, &change.removed.native}) {
      unsteered_.insert(unsteered_.end(), gone->begin(), gone->end());
    }
    const SteerRules rules = steered_ ? SteerRules{} : publisher_.steer_rules();
    for (auto& device : devices_) {
      if (auto status = steered_ ? device->change_steer(change) : device->steer(rules); !status) {
        steered_ = false;
        return status;
      }
    }
    steered_ = true;
    end_earlier();
    withdraw_unsteered();
    return Ok{};
  }

  void upsert_endpoints(std::span<const EndpointEntry> endpoints) override {
    publisher_.upsert_endpoints(endpoints, shared_.flows->now());
  }
  void remove_endpoints(Realm realm, std::span<const IpAddress> addresses) override {
    publisher_.remove_endpoints(realm, addresses);
  }
  std::size_t endpoint_count() const override { return shared_.endpoints.size(); }

  AdjacencyId adjacency(DeviceId id, const IpAddress& hop) override { return publisher_.claim_next_hop(id, hop); }
  void release_adjacency(AdjacencyId id) override { shared_.adjacencies.release(id); }
  bool take_adjacency_used(AdjacencyId id) override { return shared_.adjacencies.take_used(id); }
  void age_adjacencies(Seconds limit) override { shared_.adjacencies.age(shared_.flows->now(), limit); }
  void set_adjacency(AdjacencyId id, std::optional<MacAddress> mac) override { shared_.adjacencies.set_mac(id, mac); }

  bool send_probe(PeerId peer, std::uint32_t sequence, bool another, Bytes bytes, std::uint16_t way) override {
    const bool sent = !workers_.empty() && workers_.front()->mailbox().send({peer, sequence, another, bytes, way});
    probes_refused_ += sent ? 0 : 1;
    return sent;
  }
  void set_draining(bool on) override { shared_.draining.store(on, std::memory_order_relaxed); }
  ProbeSaid probe_said(PeerId peer) const override { return shared_.heard_probes.said(peer); }
  EngineEvents poll_events() override {
    std::uint64_t wakeups = 0;
    [[maybe_unused]] const auto got = read(event_fd_, &wakeups, sizeof wakeups);
    EngineEvents events;
    for (auto& worker : workers_) {
      WorkerEvent event;
      while (worker->mailbox().next_event(event)) {
        if (event.kind == WorkerEvent::Kind::kNeighbourRequest) {
          events.neighbours.push_back({event.device, event.address});
        } else if (event.kind == WorkerEvent::Kind::kPathMtu) {
          events.path_mtu_claims.push_back({event.peer, Bytes{event.sequence}, event.address, event.way});
        } else {
          events.probe_answers.push_back({event.peer, event.sequence, event.draining});
        }
      }
      OpeningOutcome outcome;
      while (worker->mailbox().next_outcome(outcome)) {
        events.openings.push_back(outcome);
      }
      const std::uint64_t outcomes = worker->mailbox().outcomes_lost();
      events.openings_lost += outcomes;
      events.lost += worker->mailbox().lost() + outcomes;
    }
    return events;
  }
  void poll_flow_events(std::vector<FlowEvent>& events) override {
    for (auto& worker : workers_) {
      worker->flow_events().take_all(events);
    }
  }
  FlowEventCounts flow_event_counts() const override {
    FlowEventCounts sum{};
    for (const auto& worker : workers_) {
      for (std::size_t i = 0; i < kFlowVerdicts; ++i) {
        const FlowEventCount count = worker->flow_events().count(static_cast<FlowVerdict>(i));
        sum[i].reported += count.reported;
        sum[i].sampled_out += count.sampled_out;
        sum[i].lost += count.lost;
      }
    }
    return sum;
  }
  int event_fd() const override { return event_fd_; }

  EngineCounters counters() const override;
  std::vector<std::uint64_t> polls() const override {
    std::vector<std::uint64_t> polls;
    for (const auto& worker : workers_) {
      polls.push_back(worker->polls());
    }
    return polls;
  }
  void visit_flows(const std::function<bool(const FlowRecord&)>& visit) const override {
    view_flows(*shared_.flows, shared_.control_slot, publisher_.current(), visit);
  }

 private:
  // Before the workers of an engine before this one stand still: clearing them takes longer than these may.
  void make_refusals() {
    while (workers_.size() + refusals_.size() < desired_workers_) {
      refusals_.emplace_back(shared_.options.connections / desired_workers_);
    }
  }
  [[nodiscard]] Worker::Setup setup_of(unsigned worker) {
    make_refusals();
    Worker::Setup setup(std::move(refusals_.back()));
    refusals_.pop_back();
    setup.id = WorkerId{static_cast<std::uint8_t>(worker)};
    setup.core = worker < shared_.options.cores.size() ? shared_.options.cores[worker] : -1;
    setup.control_fd = event_fd_;
    return setup;
  }
  [[nodiscard]] Status start_workers() {
    for (auto& worker : workers_) {
      if (Status started = shared_.options.drive_by_caller ? Status(Ok{}) : worker->start(); !started) {
        return started;
      }
    }
    return Ok{};
  }
  void stop_workers() {
    for (auto& worker : workers_) {
      worker->stop();
    }
    for (int turn = 0; turn < 2; ++turn) {  // what is done in the first goes back to its pools in the second
      for (auto& worker : workers_) {
        worker->finish_handed();
      }
    }
  }
  // A device that packets cannot leave by is a problem of the next check_devices(), which sets it again.
  void start_hand_down() {
    for (std::size_t i = 0; i < devices_.size(); ++i) {
      static_cast<void>(set_egress(i));
    }
    if (hand_down_ != nullptr && !shared_.options.drive_by_caller) {
      hand_down_->start();
    }
  }
  // Connections that the program of an earlier engine forwards, or has forwarded until this one took its place.
  void count_earlier() {
    for (const auto& device : devices_) {
      if (const std::vector<LeaseCount> counts = device->earlier_leases(); !counts.empty()) {
        const ReadSection section(shared_.quiescence, shared_.control_slot);
        shared_.flows->count_earlier(counts, shared_.flows->now());
        return;  // the devices of an engine have the leases in common
      }
    }
  }
  void end_earlier() {
    count_earlier();
    if (std::vector<FlowRef> flows = shared_.flows->earlier(); hand_down_ != nullptr && !flows.empty()) {
      hand_down_->expect(std::move(flows));
    }
    shared_.flows->forget_earlier();
    for (const auto& device : devices_) {
      device->forget_earlier();
    }
  }
  // Settled flows of what the devices do not take any more. The words move after the rules: until then a packet would
  // have the decision confirmed. So may one that still lies in a ring, and they move once more a second later.
  void withdraw_unsteered() {
    if (hand_down_ != nullptr && !unsteered_.empty()) {
      publisher_.move_words_of(unsteered_);
      in_rings_.emplace_back(shared_.flows->now(), std::move(unsteered_));
    }
    unsteered_ = {};
  }
  void withdraw_again() {
    while (!in_rings_.empty() && shared_.flows->now().value() > in_rings_.front().first.value() + 1) {
      publisher_.move_words_of(in_rings_.front().second);
      in_rings_.pop_front();
    }
  }
  // What XDP programs can do at the device.
  [[nodiscard]] Status set_egress(std::size_t device) {
    if (hand_down_ == nullptr) {
      return Ok{};
    }
    const KernelEgress kernel = devices_[device]->kernel_egress();
    const bool sends = kernel.why_not.empty() || std::all_of(devices_.begin(), devices_.end(), [](const auto& other) {
                         return other->kernel_egress().generic;
                       });
    const DeviceId id{static_cast<std::uint8_t>(device)};
    hand_down_->set_ingress(id, kernel.forwards);
    return hand_down_->set_egress(id, sends ? kernel.interface_index : 0);
  }

  SharedState shared_;
  Publisher publisher_;
  unsigned desired_workers_;
  int event_fd_;
  std::vector<Refusals> refusals_;  // of workers that are not made yet
  UniqueFd handed_table_;           // of the engine before this one, with its lock
  std::uint64_t probes_refused_ = 0;
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<bool> up_;                          // by device, at the last check_devices()
  std::vector<std::unique_ptr<Worker>> workers_;  // declared last of the two: destroyed before the devices
  std::unique_ptr<Handoff> handoff_;              // of workers to each other; nullptr: none
  std::unique_ptr<HandDown> hand_down_;           // nullptr: nothing is handed down
  std::vector<Prefix> unsteered_;                 // withdraw_unsteered()
  std::deque<std::pair<Seconds, std::vector<Prefix>>> in_rings_;
  bool steered_ = false;  // the published rules are in force on every device; false: the next publish applies them all
};

std::vector<DeviceCondition> EngineImplementation::check_devices() {
  withdraw_again();
  std::vector<DeviceCondition> conditions;
  bool moved = false;
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    Device& device = *devices_[i];
    DeviceCondition condition = device.check();
    if (condition.reopen) {
      stop_workers();
      const Status reopened = device.reopen();
      const Status started = start_workers();
      condition = device.check();
      if (reopened) {
        condition.changes.push_back(device.name() + ": the interface was made anew; it is in use again");
      }
      if (!started) {
        condition.problems.push_back(started.error());
      }
    }
    if (const Status egress = set_egress(i); !egress) {
      condition.problems.push_back(egress.error());
    }
    moved |= shared_.adjacencies.set_device(DeviceId{static_cast<std::uint8_t>(i)}, device.mac(), device.mtu());
    up_[i] = condition.up;
    conditions.push_back(std::move(condition));
  }
  if (moved) {
    shared_.flows->epochs().bump_all();
  }
  return conditions;
}

Result<HandedEngine> EngineImplementation::hand_over(bool dropped) {
  if (shared_.flows->file() < 0) {
    return Error{"the connection table is not kept in a file", "connection table", ""};
  }
  stop();
  HandedEngine handed;
  bool waiting = false, all = true;
  for (auto& worker : workers_) {
    if (dropped) {
      worker->drop_waiting();
    }
    waiting = waiting || worker->waiting() != 0;
    handed.workers.push_back(describe_worker(*worker, static_cast<unsigned>(devices_.size())));
    for (const HandedQueue& queue : handed.workers.back().queues) {
      all = all && !queue.sockets.empty();
    }
  }
  if (all && !waiting && !workers_.empty()) {
    handed.table = UniqueFd::duplicate(shared_.flows->file());
    return handed;
  }
  static_cast<void>(resume());
  return Error{waiting ? "frames wait for a neighbour" : "a device has no sockets now", "engine", ""};
}

Status EngineImplementation::adopt(HandedEngine handed) {
  if (handed.workers.size() != desired_workers_) {
    return Error{"what was handed over is of another number of workers", "engine.workers", ""};
  }
  for (unsigned w = 0; w < desired_workers_; ++w) {
    Worker::Setup setup = setup_of(w);
    Status adopted =
        adopt_worker(std::move(handed.workers[w]), desired_workers_, shared_.options.frames, devices_, setup);
    if (!adopted) {
      workers_.clear();
      return adopted;
    }
    workers_.push_back(std::make_unique<Worker>(shared_, std::move(setup)));
  }
  set_handoff();
  handed_table_ = std::move(handed.table);
  return Ok{};
}

EngineCounters EngineImplementation::counters() const {
  EngineCounters sum;
  name_drops(sum);
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    sum.devices.push_back({devices_[i]->name(), devices_[i]->describe(), devices_[i]->counters(), up_[i]});
  }
  for (const auto& worker : workers_) {
    worker->counters().add_to(sum);
    add_drops(sum, worker->counters());
    for (std::size_t i = 0; i < devices_.size(); ++i) {
      add_counts(sum.devices[i].counters, worker->queue(DeviceId{static_cast<std::uint8_t>(i)}).counters());
    }
  }
  sum.endpoints = shared_.endpoints.size();
  sum.endpoints_refused = publisher_.endpoints_refused();
  add_next_hops(sum, shared_.adjacencies.counts());
  shared_.fragments.add_to(sum);
  sum.probes_refused = probes_refused_;
  if (hand_down_ != nullptr) {
    hand_down_->add_to(sum);
  }
  sum.flow_events = flow_event_counts();
  sum.connections = shared_.flows->counts();
  sum.connections_start = shared_.flows->start();
  sum.connections_start_reason = shared_.flows->start_reason();
  return sum;
}

}  // namespace

std::string Engine::state_file(const std::string& state_directory, const std::string& name) {
  return state_file_path(state_directory, name);
}

Result<std::unique_ptr<Engine>> Engine::create(const EngineOptions& options) {
  const Result<unsigned> workers = check_options(options);
  if (!workers) {
    return workers.error();
  }
  auto engine = std::make_unique<EngineImplementation>(options, *workers);
  if (auto status = engine->open_flows(); !status) {
    return status.error();
  }
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace isthmus
