// Control, and what must be so at the end.
#include "test/unit/handdown/agreement/agreement_rig.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "dataplane/handdown/record.h"
#include "test/support/boot_clock.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

// Pairs of leases for a sixth of the connections, so that there is never room for all.
constexpr std::size_t kConnections = 400;
constexpr std::uint32_t kEntries = 128;
constexpr std::uint32_t kLong = 1'000'000;  // seconds
constexpr std::uint64_t kRunsPerTurn = 300, kCarriedPerTurn = 24;
constexpr std::size_t kMostRecords = 16;
const MacAddress kHopMacs[] = {*MacAddress::parse("02:00:00:00:00:fe"), *MacAddress::parse("02:00:00:00:00:fd")};

std::shared_ptr<KernelFlows> open_maps() {
  auto maps = open_kernel_flows({kEntries});
  if (!maps) {
    ADD_FAILURE() << maps.error().text();
    std::abort();
  }
  return *maps;
}

bool is_clear(const isthmus_lease& lease) {
  return lease.sum == 0 && lease.valid == 0 && lease.packets == 0 && lease.bytes == 0;
}

}  // namespace

AgreementRig::AgreementRig(bool threads_of_the_engine)
    : threads_of_the_engine_(threads_of_the_engine), maps_(open_maps()) {
  PathRig::Options options;
  options.threads = threads_of_the_engine;
  options.around = [this](std::unique_ptr<MemoryDevice> memory) -> std::unique_ptr<Device> {
    auto device = std::make_unique<SteeredDevice>(std::move(memory), *maps_, false);
    (underlay_ == nullptr ? underlay_ : local_) = device.get();
    return device;
  };
  EngineOptions& engine = options.engine;
  engine.workers = kWorkers;
  engine.connections = engine.half_open_limit = 8192;
  engine.timeouts = {Seconds{kLong}, Seconds{kLong}, Seconds{kLong}, Seconds{kLong}, Seconds{kLong}};
  engine.hand_down.flows = maps_;
  engine.hand_down.packets_per_second = 1;
  rig_ = std::make_unique<PathRig>(options);
  script_ = std::make_unique<ConnectionScript>(*rig_, kConnections);
  hop_ = rig_->engine().adjacency(DeviceId{0}, Actors::ip("192.0.2.254"));
  start_threads();
}

AgreementRig::~AgreementRig() { stop(); }

void AgreementRig::start_threads() {
  if (threads_of_the_engine_) {
    return;
  }
  Engine& engine = rig_->engine();
  for (std::uint8_t w = 0; w < kWorkers; ++w) {
    engine_threads_.emplace_back([this, &engine, w] {
      while (!stopping_) {
        if (engine.run_round(WorkerId{w}) == 0) {
          std::this_thread::sleep_for(kPause);
        }
      }
    });
  }
  engine_threads_.emplace_back([this, &engine] {
    while (!stopping_) {
      engine.hand_down_round();
      ++rounds_;
      std::this_thread::sleep_for(kPause);
    }
  });
}

void AgreementRig::stop() {
  stopping_ = true;
  for (std::thread& thread : engine_threads_) {
    thread.join();
  }
  engine_threads_.clear();
  rig_->engine().stop();
}

bool AgreementRig::await(const char* what, const std::function<bool()>& reached) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!reached()) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "waited in vain for " << what;
      return false;
    }
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

void AgreementRig::open_all() {
  Dice dice(1);
  EXPECT_TRUE(await("connections", [&] {
    reopen(dice, 0);
    for (std::size_t n = 0; n < script_->size(); ++n) {
      if ((*script_)[n].stage != Stage::kOpen) {
        return false;
      }
    }
    return true;
  }));
}

void AgreementRig::work(unsigned turns) {
  still_ = false;
  std::thread wire([this] { carry(); }), kernel([this] { run_programs(); });
  for (unsigned turn = 0; turn < turns && violation().empty(); ++turn) {
    set_boot_clock(Nanoseconds{boot_clock().value() + 1'000'000'000});
    change(turn);
    const std::uint64_t runs = runs_ + kRunsPerTurn, carried = carried_ + kCarriedPerTurn, rounds = rounds_;
    if (!await("packets",
               [&] { return runs_ >= runs && carried_ >= carried && (threads_of_the_engine_ || rounds_ != rounds); })) {
      break;
    }
  }
  deny(false);
  let_send(true);
  still_ = true;
  wire.join();
  kernel.join();
}

// One thing after the other, then nothing for some turns, in which what is hot is handed down.
void AgreementRig::change(unsigned turn) {
  constexpr unsigned kCycle = 10;
  const unsigned cycle = turn / kCycle;
  const bool odd = cycle % 2 != 0;
  switch (turn % kCycle) {
    case 0:
      return use_gateway(odd);
    case 1:
      return use_port(odd);
    case 2:
      return use_hop(odd);
    case 3:
      return deny(true);
    case 4: {
      deny(false);
      TableDelta every_word;
      every_word.policy_defaults.emplace();
      return publish(every_word);
    }
    case 5:
      return let_send(cycle % 4 != 3);
    default:
      return;
  }
}

void AgreementRig::publish(const TableDelta& delta) {
  const Status status = rig_->engine().publish(delta);
  EXPECT_TRUE(status.ok()) << status.error().text();
}

void AgreementRig::deny(bool denied) {
  order_.change(Order::kDenied, denied, [&] {
    PolicyDelta policy;
    publish(denied ? policy.egress(kClientIdentity, enforced()).delta : policy.without(kClientIdentity).delta);
  });
}

void AgreementRig::use_gateway(bool other) {
  order_.change(Order::kOtherGateway, other,
                [&] { rig_->set_clusters({other ? PathRig::kWestOther : PathRig::kWestGateway}); });
}

void AgreementRig::use_port(bool other) {
  order_.change(Order::kOtherPort, other, [&] {
    const std::uint16_t port = other ? 4789 : 8472;
    TableDelta delta;
    delta.upsert_peers = {{PathRig::kWestGateway, ClusterId{2}, rig_->at.west_gateway, L4Port{port}, hop_, true,
                           EncapsulationKind::kVxlan, EncapsulationKind::kVxlan}};
    publish(delta);
  });
}

void AgreementRig::use_hop(bool other) {
  order_.change(Order::kOtherHop, other, [&] { rig_->engine().set_adjacency(hop_, kHopMacs[other ? 1 : 0]); });
}

void AgreementRig::let_send(bool sends) {
  underlay_->set_sends(sends);
  static_cast<void>(rig_->engine().check_devices());
}

void AgreementRig::take_all_back() {
  underlay_->set_sends(false);
  local_->set_sends(false);
  static_cast<void>(rig_->engine().check_devices());
  EXPECT_TRUE(await("all to be taken back", [&] { return counters().handed_down_now == 0; }));
}

std::string AgreementRig::wrong_counts() {
  std::string text;
  std::size_t seen = 0, wrong = 0;
  const auto compare = [&](const FlowRecord& record, Direction direction, LeaseCount is) {
    const LeaseCount sent = script_->of_port(record.client_port.value())->sent(direction);
    if (sent.packets != is.packets || sent.bytes != is.bytes) {
      ++wrong;
      text = "of port " + std::to_string(record.client_port.value()) +
             (direction == Direction::kForward ? " there " : " back ") + std::to_string(sent.packets) + " packets of " +
             std::to_string(sent.bytes) + " bytes were sent, and " + std::to_string(is.packets) + " of " +
             std::to_string(is.bytes) + " are recorded";
    }
  };
  rig_->engine().visit_flows([&](const FlowRecord& record) {
    ScriptedConnection* const connection = script_->of_port(record.client_port.value());
    if (connection != nullptr && connection->stage != Stage::kEnded) {
      ++seen;
      compare(record, Direction::kForward, {record.forward_packets, record.forward_bytes});
      compare(record, Direction::kReply, {record.reply_packets, record.reply_bytes});
    }
    return true;
  });
  std::size_t open = 0;
  for (std::size_t n = 0; n < script_->size(); ++n) {
    open += (*script_)[n].stage != Stage::kEnded ? 1 : 0;
  }
  if (seen != open) {
    return std::to_string(open) + " connections are open, and " + std::to_string(seen) + " are recorded";
  }
  return wrong == 0 ? "" : std::to_string(wrong) + " directions, the last: " + text;
}

std::string AgreementRig::left_in_maps() {
  for (std::size_t i = 0; i < maps_->leases().size(); ++i) {
    if (!is_clear(maps_->leases()[i])) {
      return "lease " + std::to_string(i);
    }
  }
  for (std::size_t n = 0; n < script_->size(); ++n) {
    const ScriptedConnection& connection = (*script_)[n];
    const auto key = [](const Endpoint& from, const Endpoint& to) {
      return key_of(
          FlowKey(from.address, to.address, Be16::of(from.port), Be16::of(to.port), IpProtocol::kTcp, Realm{0}));
    };
    if (maps_->find(key(connection.client, connection.target)) != nullptr ||
        maps_->find(key(rig_->at.west, connection.client)) != nullptr) {
      return "the entry of port " + std::to_string(connection.client.port);
    }
  }
  // A record is written when it is taken: numbers that are given back are taken again, before others.
  const auto used = std::count_if(maps_->tunnels().begin(), maps_->tunnels().end(),
                                  [](const isthmus_tunnel& tunnel) { return tunnel.size != 0; });
  if (used > static_cast<std::ptrdiff_t>(kMostRecords)) {
    return std::to_string(used) + " tunnel records have been in use";
  }
  // One that is in use follows its next hop.
  const MacAddress last = *MacAddress::parse("02:00:00:00:00:77");
  rig_->engine().set_adjacency(hop_, last);
  for (const isthmus_hop& hop : maps_->hops()) {
    if (std::memcmp(hop.addresses, last.bytes.data(), last.bytes.size()) == 0) {
      return "the record of a next hop";
    }
  }
  return {};
}

std::string AgreementRig::violation() {
  const std::lock_guard lock(mutex_);
  return violation_;
}

}  // namespace isthmus::test
