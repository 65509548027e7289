// Live changes: a change applies to established connections from the first packet whose processing begins after the
// call that made the change has returned. Shown by order, not by time: with two workers, packets injected after that
// call (marked by their length) pass or are dropped as the change requires; packets in flight during the call may do
// either.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test {
namespace {

constexpr unsigned kWorkers = 2, kFlight = 12, kTurns = 40;
constexpr std::size_t kInFlight = 10, kMarked = 200;  // payload bytes
constexpr std::uint32_t kPeer = 1, kCidr = 2;         // selectors
constexpr std::uint32_t kOther = 7, kPrefixIdentity = 1u << 24 | 7;
const Actors at;
const Endpoint kHost{Actors::ip("10.2.200.7"), 9000};  // of west, no endpoint

struct Sent {
  bool underlay;
  PacketSpec packet;
};

// Two workers with two memory devices, running as threads or driven by the caller.
class LiveRig {
 public:
  explicit LiveRig(bool threads) : threads_(threads), rig_(options(threads)) {}

  Engine& engine() { return rig_.engine(); }
  void publish(const PolicyDelta& change) {
    const Status status = engine().publish(change.delta);
    ASSERT_TRUE(status.ok()) << status.error().text();
  }
  // Queues copies for both workers, without waiting.
  void inject(const std::vector<Sent>& packets, std::size_t payload) {
    for (unsigned i = 0; i < kFlight; ++i) {
      for (Sent sent : packets) {
        const FrameBytes frame = sent.packet.with_payload(payload).bytes();
        for (std::uint8_t w = 0; w < kWorkers; ++w) {
          ASSERT_TRUE((sent.underlay ? rig_.underlay() : rig_.local()).inject(frame, WorkerId{w}));
          ++injected_;
        }
      }
    }
  }
  // Waits until every packet has been sent out or dropped. Returns those sent out since the last call.
  std::vector<Dissected> settle() {
    std::vector<Dissected> out;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (injected_ != taken_ + dropped()) {
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << injected_ << " packets in, " << taken_ << " out, " << dropped() << " dropped";
        return out;
      }
      for (std::uint8_t w = 0; w < kWorkers; ++w) {
        if (!threads_) {
          engine().run_round(WorkerId{w});
        }
        for (MemoryDevice* device : {&rig_.underlay(), &rig_.local()}) {
          while (auto frame = device->take(WorkerId{w})) {
            out.push_back(dissect(*frame));
            ++taken_;
          }
        }
      }
      std::this_thread::yield();
    }
    return out;
  }
  std::uint64_t drops(const std::string& name) {
    for (const DropCount& drop : engine().counters().drops) {
      if (drop.name == name) {
        return drop.packets;
      }
    }
    return 0;
  }

 private:
  static PathRig::Options options(bool threads) {
    PathRig::Options options;
    options.threads = threads;
    options.engine.workers = kWorkers;
    options.engine.identity_grace = Seconds{3600};
    return options;
  }
  std::uint64_t dropped() {
    std::uint64_t sum = 0;
    for (const DropCount& drop : engine().counters().drops) {
      sum += drop.packets;
    }
    return sum;
  }

  bool threads_;
  PathRig rig_;
  std::uint64_t injected_ = 0, taken_ = 0;
};

// One kind of change: a connection, the change that stops it and the one that lets it continue.
struct Kind {
  const char* name;
  const char* reason;  // of the drops once it is stopped
  std::function<void(PolicyDelta&)> before;
  std::vector<Sent> opening;  // the first packet of the connection
  // Further packets, given what was sent out for the opening one.
  std::function<std::vector<Sent>(const Dissected&)> live;
  std::function<void(LiveRig&)> stop, resume;
};

std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

PacketSpec from_west(const Endpoint& from, const Endpoint& to, std::uint8_t flags = kAck) {
  return tcp(from, to, flags).in_tunnel(at.west_gateway, at.gateway, kWestIdentity);
}
const std::vector<Sent> kOutward{{false, tcp(at.client, at.west)}};
std::vector<Sent> outward_live(const Dissected&) {
  return {{false, tcp(at.client, at.west, kAck)}, {true, from_west(at.west, at.client)}};
}
const std::vector<Sent> kInward{{true, from_west(at.west, at.client, kSyn)}};
std::vector<Sent> inward_live(const Dissected&) {
  return {{true, from_west(at.west, at.client)}, {false, tcp(at.client, at.west, kAck)}};
}
// To a service with a local backend: both ends are in our cluster, and replies go to the translation address.
const std::vector<Sent> kLocalOnly{{false, tcp(at.client, at.local_service)}};
std::vector<Sent> local_only_live(const Dissected& opened) {
  return {{false, tcp(at.client, at.local_service, kAck)},
          {false, tcp(at.local_backend, {at.translation, opened.source_port}, kAck)}};
}

void change(LiveRig& rig, const std::function<void(PolicyDelta&)>& edit) {
  PolicyDelta delta;
  edit(delta);
  rig.publish(delta);
}
std::function<void(LiveRig&)> publishing(std::function<void(PolicyDelta&)> edit) {
  return [edit = std::move(edit)](LiveRig& rig) { change(rig, edit); };
}
std::function<void(LiveRig&)> endpoint(const Endpoint& who, std::uint16_t cluster, std::uint32_t identity) {
  return [=](LiveRig& rig) {
    const EndpointEntry entry{Realm{0}, who.address, ClusterId{cluster}, Identity{identity}, kNoPeer};
    rig.engine().upsert_endpoints({&entry, 1});
  };
}
std::function<void(LiveRig&)> no_endpoint(const Endpoint& who) {
  return [=](LiveRig& rig) { rig.engine().remove_endpoints(Realm{0}, {&who.address, 1}); };
}
std::function<void(LiveRig&)> both(std::function<void(LiveRig&)> first, std::function<void(LiveRig&)> second) {
  return [=](LiveRig& rig) {
    first(rig);
    second(rig);
  };
}

void only_west_out(PolicyDelta& d) {
  d.select(kPeer, {kWestIdentity}).egress(kClientIdentity, enforced({allow(kPeer)}));
}
void only_west_in(PolicyDelta& d) {
  d.select(kPeer, {kWestIdentity}).ingress(kClientIdentity, enforced({allow(kPeer)}));
}
void no_rule(PolicyDelta&) {}
void west_has(PolicyDelta& d, const std::vector<const char*>& prefixes) {
  ClusterEntry west{ClusterId{2}, false, true, {}, {PathRig::kWestGateway}};
  for (const char* prefix : prefixes) {
    west.prefixes.push_back(*Prefix::parse(prefix));
  }
  d.delta.changed_clusters = {west};
}

const Kind kKinds[] = {
    {"APolicyThatComesAndGoes", "policy_denied", no_rule, kOutward, outward_live,
     publishing([](PolicyDelta& d) { d.egress(kClientIdentity, enforced()); }),
     publishing([](PolicyDelta& d) { d.without(kClientIdentity); })},
    {"AnIngressPolicyThatComesAndGoes", "policy_deny", no_rule, kInward, inward_live, publishing([](PolicyDelta& d) {
       d.ingress(kClientIdentity, {false, {deny(kEveryPeer.value())}});
     }),
     publishing([](PolicyDelta& d) { d.without(kClientIdentity); })},
    {"APolicyThatIsReplaced", "policy_deny", only_west_out, kOutward, outward_live, publishing([](PolicyDelta& d) {
       d.egress(kClientIdentity, enforced({allow(kPeer), deny(kPeer)}));
     }),
     publishing([](PolicyDelta& d) { d.egress(kClientIdentity, enforced({allow(kPeer)})); })},
    {"ASelectorThatLosesTheIdentity", "policy_denied", only_west_out, kOutward, outward_live,
     publishing([](PolicyDelta& d) { d.select(kPeer, {kNorthIdentity}).moved(kClientIdentity); }),
     publishing([](PolicyDelta& d) { d.select(kPeer, {kWestIdentity}).moved(kClientIdentity); })},
    {"DefaultsThatDeny", "policy_denied", no_rule, kInward, inward_live, publishing([](PolicyDelta& d) {
       d.delta.policy_defaults = PolicyDefaults{false, true, false};
     }),
     publishing([](PolicyDelta& d) { d.delta.policy_defaults = PolicyDefaults{}; })},
    {"APrefixThatGetsAnotherIdentity",
     "policy_denied",
     [](PolicyDelta& d) {
       d.select(kCidr, {kPrefixIdentity}).egress(kClientIdentity, enforced({allow(kCidr)}));
       d.prefix("10.2.200.0/24", kPrefixIdentity);
     },
     {{false, tcp(at.client, kHost)}},
     [](const Dissected&) {
       return std::vector<Sent>{{false, tcp(at.client, kHost, kAck)},
                                {true, tcp(kHost, at.client, kAck).in_tunnel(at.west_gateway, at.gateway, 2)}};
     },
     publishing([](PolicyDelta& d) { d.prefix("10.2.0.0/16", kPrefixIdentity + 1); }),
     publishing([](PolicyDelta& d) { d.prefix("10.2.200.0/24", kPrefixIdentity); })},
    {"ANodesPrefixThatGoes",
     "no_route",
     [](PolicyDelta& d) {
       west_has(d, {"10.2.0.0/17", "10.2.200.0/24"});
     },
     {{false, tcp(at.client, kHost)}},
     [](const Dissected&) {
       return std::vector<Sent>{{false, tcp(at.client, kHost, kAck)}};
     },
     publishing([](PolicyDelta& d) { west_has(d, {"10.2.0.0/17"}); }),
     publishing([](PolicyDelta& d) {
       west_has(d, {"10.2.0.0/17", "10.2.200.0/24"});
     })},
    {"APeerThatIsRelabelled", "policy_denied", only_west_out, kOutward, outward_live,
     endpoint(at.west, 2, kWestIdentity + kOther), endpoint(at.west, 2, kWestIdentity)},
    {"ASubjectThatIsRelabelled", "policy_denied",
     [](PolicyDelta& d) { d.ingress(kClientIdentity + kOther, enforced()); }, kInward, inward_live,
     endpoint(at.client, 1, kClientIdentity + kOther), endpoint(at.client, 1, kClientIdentity)},
    {"APodThatIsDeleted", "source_removed", only_west_in, kInward,
     [](const Dissected&) {
       return std::vector<Sent>{{true, from_west(at.west, at.client)}};
     },
     no_endpoint(at.west), endpoint(at.west, 2, kWestIdentity)},
    {"RepliesToAPodThatIsDeleted", "policy_denied", only_west_in, kInward,
     [](const Dissected&) {
       return std::vector<Sent>{{false, tcp(at.client, at.west, kAck)}};
     },
     no_endpoint(at.west), endpoint(at.west, 2, kWestIdentity)},
    {"AnAddressThatAnotherPodReuses", "policy_denied", only_west_out, kOutward,
     [](const Dissected&) {
       return std::vector<Sent>{{false, tcp(at.client, at.west, kAck)}};
     },
     both(no_endpoint(at.west), endpoint(at.west, 2, kWestIdentity + kOther)),
     both(no_endpoint(at.west), endpoint(at.west, 2, kWestIdentity))},
    {"AnAddressThatAnotherPodReusesAndSendsFrom", "identity_mismatch", only_west_in, kInward,
     [](const Dissected&) {
       return std::vector<Sent>{{true, from_west(at.west, at.client)}};
     },
     both(no_endpoint(at.west), endpoint(at.west, 2, kWestIdentity + kOther)),
     both(no_endpoint(at.west), endpoint(at.west, 2, kWestIdentity))},
    {"TheSourcePolicyOfTwoLocalEndpoints", "policy_denied", no_rule, kLocalOnly, local_only_live,
     publishing([](PolicyDelta& d) { d.egress(kClientIdentity, enforced()); }),
     publishing([](PolicyDelta& d) { d.without(kClientIdentity); })},
    {"TheDestinationPolicyOfTwoLocalEndpoints", "policy_denied", no_rule, kLocalOnly, local_only_live,
     publishing([](PolicyDelta& d) { d.ingress(kLocalBackendIdentity, enforced()); }),
     publishing([](PolicyDelta& d) { d.without(kLocalBackendIdentity); })},
};

class LiveChanges : public ::testing::TestWithParam<std::tuple<Kind, bool>> {};

std::size_t marked(const std::vector<Dissected>& packets) {
  std::size_t count = 0;
  for (const Dissected& packet : packets) {
    EXPECT_TRUE(packet.payload == kMarked || packet.payload == kInFlight) << packet.text();
    count += packet.payload == kMarked ? 1 : 0;
  }
  return count;
}

TEST_P(LiveChanges, ApplyFromTheNextPacket) {
  const Kind& kind = std::get<0>(GetParam());
  LiveRig rig(std::get<1>(GetParam()));
  change(rig, kind.before);
  rig.inject(kind.opening, kInFlight);
  const std::vector<Dissected> opened = rig.settle();
  ASSERT_FALSE(opened.empty());
  const std::vector<Sent> live = kind.live(opened.front());
  const std::size_t all = live.size() * kFlight * kWorkers;
  rig.inject(live, kMarked);
  ASSERT_EQ(marked(rig.settle()), all);
  for (unsigned turn = 0; turn < kTurns && !::testing::Test::HasFailure(); ++turn) {
    const bool ends = turn % 2 == 0;
    rig.inject(live, kInFlight);
    const std::uint64_t before = rig.drops(kind.reason);
    (ends ? kind.stop : kind.resume)(rig);
    rig.inject(live, kMarked);
    EXPECT_EQ(marked(rig.settle()), ends ? 0 : all) << "turn " << turn;
    if (ends) {
      EXPECT_GE(rig.drops(kind.reason) - before, all);
    }
  }
  EXPECT_EQ(rig.engine().counters().connections.now, 1u) << "the connection's entry is kept";
}

// A node with a prefix of its own comes and goes: connections of others are not decided again.
TEST(LivePrefixes, AffectConnectionsFromThereAlone) {
  LiveRig rig(false);
  change(rig, [](PolicyDelta& d) { west_has(d, {"10.2.0.0/17"}); });
  rig.inject(kOutward, kInFlight);
  ASSERT_FALSE(rig.settle().empty());
  const std::vector<Sent> live{{false, tcp(at.client, at.west, kAck)}};
  rig.inject(live, kMarked);
  EXPECT_EQ(marked(rig.settle()), kFlight * kWorkers);
  const std::uint64_t before = rig.engine().counters().revalidations;
  for (unsigned turn = 0; turn < 2; ++turn) {
    change(rig, [turn](PolicyDelta& d) {
      west_has(d, turn == 0 ? std::vector<const char*>{"10.2.0.0/17", "10.2.200.0/28"}
                            : std::vector<const char*>{"10.2.0.0/17"});
    });
    rig.inject(live, kMarked);
    EXPECT_EQ(marked(rig.settle()), kFlight * kWorkers);
  }
  EXPECT_EQ(rig.engine().counters().revalidations, before);
  change(rig, [](PolicyDelta& d) { west_has(d, {"10.2.0.0/16"}); });  // more addresses than are looked at one by one
  rig.inject(live, kMarked);
  EXPECT_EQ(marked(rig.settle()), kFlight * kWorkers);
  EXPECT_GT(rig.engine().counters().revalidations, before);
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<Kind, bool>>& test) {
  return std::string(std::get<0>(test.param).name) + (std::get<1>(test.param) ? "WithThreads" : "DrivenByCaller");
}
INSTANTIATE_TEST_SUITE_P(Kinds, LiveChanges, ::testing::Combine(::testing::ValuesIn(kKinds), ::testing::Bool()),
                         name_of);

}  // namespace
}  // namespace isthmus::test
