#include "dataplane/worker/worker.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <string>

#include "dataplane/originate/output.h"
#include "dataplane/path/fragments.h"
#include "dataplane/path/path.h"
#include "dataplane/report/report.h"
#include "dataplane/slowpath/openings.h"

namespace isthmus {
namespace {

constexpr unsigned kIdleRoundsBeforeSleep = 32;
constexpr std::uint32_t kMaxSleepUs = 50'000;     // far below the steer program's heartbeat timeout
constexpr std::uint32_t kWaitingSleepUs = 1'000;  // while frames wait for a neighbour
// Aging visits every slot of the worker's share once per period, limited to a number of slots per step that depends on
// whether the round was busy. (A worker that is woken for each batch of packets has many idle rounds.)
constexpr std::uint64_t kAgingPeriodNs = 2'000'000'000;
constexpr std::uint64_t kAgingBusy = 16, kAgingIdle = 2048;  // slots per step
constexpr std::uint64_t kAgingEvery = 8;                     // busy rounds per step

}  // namespace

Worker::Worker(SharedState& shared, Setup setup)
    : shared_(shared),
      setup_(std::move(setup)),
      flow_events_(shared.options.flow_events_per_second),
      context_(shared, setup_.id, *setup_.pool, mailbox_, flow_events_, std::move(setup_.refusals)),
      burst_(std::make_unique<Burst>()) {
  context_.output.tx.resize(setup_.queues.size());
  context_.random ^= std::uint64_t{setup_.id.value()} << 32;
  context_.output.ip_id = static_cast<std::uint16_t>(setup_.id.value() << 12);
}

Worker::~Worker() { stop(); }

Status Worker::start() {
  stopping_.store(false, std::memory_order_relaxed);
  thread_ = std::thread([this] { run(); });
  char name[16];
  std::snprintf(name, sizeof name, "isthmus-w%u", static_cast<unsigned>(setup_.id.value()));
  pthread_setname_np(thread_.native_handle(), name);
  if (setup_.core < 0) {
    return Ok{};
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(setup_.core), &set);
  if (const int error = pthread_setaffinity_np(thread_.native_handle(), sizeof set, &set); error != 0) {
    return Error{"cannot pin a worker to CPU " + std::to_string(setup_.core) + ": " + std::strerror(error),
                 "engine.cores",
                 "name CPUs that this machine has and that the process may use: `cat /proc/self/status | grep Cpus`"};
  }
  return Ok{};
}

void Worker::stop() {
  if (thread_.joinable()) {
    stopping_.store(true, std::memory_order_release);
    mailbox_.wake();
    thread_.join();
  }
}

void Worker::drop_waiting() noexcept {
  Output& output = context_.output;
  for (; output.waiting_count > 0; --output.waiting_count) {
    drop_frame(context_, output.waiting[output.waiting_count - 1].frame, DropReason::kNeighbourUnresolved);
  }
}

void Worker::read_clock() noexcept {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  context_.now_ns = static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
  context_.now = shared_.flows->seconds_at(Nanoseconds{context_.now_ns});
}

void Worker::run() {
  const unsigned slot = setup_.id.value();
  unsigned idle = 0;
  shared_.quiescence.online(slot);
  while (!stopping_.load(std::memory_order_acquire)) {
    shared_.quiescence.quiescent(slot);
    idle = work() == 0 ? idle + 1 : 0;
    if (idle > kIdleRoundsBeforeSleep && shared_.options.idle == IdlePolicy::kSleep) {
      shared_.quiescence.offline(slot);
      wait();
      shared_.quiescence.online(slot);
      idle = 0;
    }
  }
  shared_.quiescence.offline(slot);
}

unsigned Worker::round() {
  const ReadSection section(shared_.quiescence, setup_.id.value());
  return work();
}

unsigned Worker::work() {
  polls_.store(polls() + 1, std::memory_order_relaxed);
  context_.snapshot = shared_.snapshot.load(std::memory_order_acquire);
  if (context_.snapshot == nullptr) {
    return work_without_tables();
  }
  unsigned received = 0;
  read_clock();
  for (unsigned device = 0; device < setup_.queues.size(); ++device) {
    received += poll_queue(DeviceId{static_cast<std::uint8_t>(device)});
  }
  if (handoff_ != nullptr) {
    received += poll_handed();
  }
  maintain(received == 0);
  flush();
  report_to_control(false);
  return received;
}

void Worker::report_to_control(bool idle) noexcept {
  const bool outcomes = mailbox_.outcomes_due(context_.now_ns, idle);
  if (flow_events_.should_wake(context_.now_ns, idle) || outcomes) {
    mailbox_.request_wake();
  }
  mailbox_.flush(setup_.control_fd);
}

unsigned Worker::poll_queue(DeviceId device) {
  const unsigned count = setup_.queues[device.value()]->receive({burst_->frames.data(), kMaxBurst});
  if (count == 0) {
    return 0;
  }
  context_.counters.rx_packets.add(count);
  unsigned ours = count;
  if ((hands_out_ >> device.value() & 1) != 0) {
    const HandedOut out = handoff_->hand_out(setup_.id.value(), device, {burst_->frames.data(), count});
    context_.counters.handed.add(out.handed);
    context_.counters.handoff_full.add(out.no_room);
    ours = out.stays;
  }
  forward(device, ours);
  return count;
}

void Worker::forward(DeviceId device, unsigned count) {
  if (count == 0) {
    return;
  }
  burst_->count = count;
  burst_->device = device;
  context_.arrived_on = device;
  run_path(context_, *burst_);
  if (context_.host.count != 0) {
    setup_.queues[device.value()]->to_host({context_.host.frames.data(), context_.host.count});
    context_.host.count = 0;
  }
}

// One burst for each turn of the loop that fills one.
unsigned Worker::poll_handed() {
  const unsigned worker = setup_.id.value();
  handoff_->take_back(worker, *setup_.pool);
  unsigned total = 0;
  for (std::size_t turn = 0; turn < setup_.queues.size(); ++turn) {
    DeviceId device;
    const unsigned count = handoff_->receive(worker, *setup_.pool, {burst_->frames.data(), kMaxBurst}, device);
    forward(device, count);
    total += count;
  }
  return total;
}

void Worker::finish_handed() {
  if (handoff_ == nullptr) {
    return;
  }
  const ReadSection section(shared_.quiescence, setup_.id.value());
  context_.snapshot = shared_.snapshot.load(std::memory_order_acquire);
  if (context_.snapshot == nullptr) {
    return;  // nothing has been handed out
  }
  read_clock();
  while (poll_handed() != 0) {
    flush();
  }
}

// Before the first publish, fleet traffic is left to the kernel program of a device; without one, there are no rules
// yet by which anything would not be the kernel's.
unsigned Worker::work_without_tables() {
  unsigned received = 0;
  for (unsigned device = 0; device < setup_.queues.size(); ++device) {
    DeviceQueue& queue = *setup_.queues[device];
    if ((shared_.shares_with_host >> device & 1) == 0) {
      static_cast<void>(queue.receive({}));  // its heartbeat: the first packets must not find the worker dead
      continue;
    }
    const unsigned count = queue.receive({burst_->frames.data(), kMaxBurst});
    context_.counters.rx_packets.add(count);
    queue.to_host({burst_->frames.data(), count});
    queue.flush();
    received += count;
  }
  return received;
}

void Worker::flush() {
  for (std::size_t device = 0; device < setup_.queues.size(); ++device) {
    TxBatch& batch = context_.output.tx[device];
    if (batch.count != 0) {
      const unsigned sent = setup_.queues[device]->transmit({batch.frames.data(), batch.count});
      context_.counters.tx_packets.add(sent);
      for (unsigned i = sent; i < batch.count; ++i) {
        drop_frame(context_, batch.frames[i], DropReason::kTxFull);
      }
      batch.count = 0;
    }
    setup_.queues[device]->flush();
  }
}

void Worker::maintain(bool idle) {
  ProbeCommand command;
  while (mailbox_.next_command(command)) {
    send_probe(context_.output, command);
  }
  if (context_.output.waiting_count != 0) {
    retry_waiting(context_.output);
  }
  expire_fragments(context_);
  if (idle || ++rounds_ % kAgingEvery == 0) {
    age_connections(idle ? kAgingIdle : kAgingBusy);
  }
}

void Worker::age_connections(std::uint64_t max_slots) {
  const std::uint64_t since = std::min(context_.now_ns - aged_ns_, kAgingPeriodNs);
  const std::uint64_t due = since * shared_.flows->share() / kAgingPeriodNs;
  if (due != 0) {
    aged_ns_ = context_.now_ns;
  }
  shared_.flows->age_connections(setup_.id, context_.now, static_cast<unsigned>(std::min(due, max_slots)), this);
}

void Worker::unanswered(const Connection& connection) noexcept { tell_unanswered(context_, connection); }

// Sleeps in the kernel until a queue is readable, control sends a command or the timeout expires. The worker is outside
// its read section, so publishers do not wait for it.
void Worker::wait() {
  report_to_control(true);
  std::array<pollfd, 64> fds{};
  nfds_t count = 0;
  fds[count++] = {mailbox_.worker_fd(), POLLIN, 0};
  std::uint32_t longest_us = context_.output.waiting_count != 0 ? kWaitingSleepUs : kMaxSleepUs;
  if (handoff_ != nullptr && !handoff_->sleep(setup_.id.value(), mailbox_.worker_fd())) {
    return;
  }
  for (auto& queue : setup_.queues) {
    if (!queue->arm()) {
      return;
    }
    if (const std::uint32_t us = queue->longest_sleep_us(); us != 0) {
      longest_us = std::min(longest_us, us);
    }
    for (const int fd : queue->wait_fds()) {
      if (count < fds.size()) {
        fds[count++] = {fd, POLLIN, 0};
      }
    }
  }
  const timespec timeout{0, static_cast<long>(longest_us) * 1000};
  if (ppoll(fds.data(), count, &timeout, nullptr) > 0 && (fds[0].revents & POLLIN) != 0) {
    mailbox_.acknowledge();
  }
  if (handoff_ != nullptr) {
    handoff_->awake(setup_.id.value());
  }
}

}  // namespace isthmus
