// Random policies and packets: the packets forwarded by the real engine, with tables compiled from manifest text, are
// those the brute-force evaluator passes. ISTHMUS_SEED repeats a run; ISTHMUS_POLICY_PAIRS sets the number of packets
// (default one million, fewer in sanitized builds).
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <set>

#include "test/unit/policy/gateway_rig.h"

namespace isthmus {
namespace {

using namespace policy_reference;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kPairs = 50'000;
#else
constexpr std::uint64_t kPairs = 1'000'000;
#endif
constexpr std::size_t kPacketsPerSet = 10000, kBatch = 60;
constexpr auto kNamespace = "io.kubernetes.pod.namespace";
constexpr auto kCluster = "io.cilium.k8s.policy.cluster";

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t n) { return engine_() % n; }
  bool one_in(std::size_t n) { return below(n) == 0; }
  template <typename T>
  const T& of(const std::vector<T>& list) {
    return list[below(list.size())];
  }

 private:
  std::mt19937_64 engine_;
};

// Pods with labels, pods without, and a node, in each of two clusters.
std::vector<Who> make_fleet(Random& random) {
  std::vector<Who> all;
  for (const std::string cluster : {"east", "west"}) {
    const std::uint32_t id = cluster == "east" ? 1 : 2;
    for (std::uint32_t i = 0; i < 14; ++i) {
      Who who;
      who.cluster = cluster;
      who.name = "pod-" + std::to_string(i);
      who.address = 10U << 24 | id << 16 | (i < 12 ? 1U : 77U) << 8 | (i + 1);
      who.local = i >= 12 && cluster == "east";
      who.labelled = i < 12 || who.local;
      who.identity = i < 12 ? id << 16 | (0x100 + i / 2) : 2;  // two pods of one identity
      who.labels[kCluster] = cluster;
      if (who.local) {
        who.labels[kNamespace] = "vm";
      } else if (who.labelled && i % 2 == 0) {
        who.labels[kNamespace] = random.one_in(3) ? "bank" : "shop";
        who.labels["app"] = random.of<std::string>({"a", "b", "c"});
        if (random.one_in(2)) {
          who.labels["tier"] = random.of<std::string>({"x", "z"});
        }
      } else if (who.labelled) {
        who.labels = all.back().labels;
      }
      if (who.labelled && !random.one_in(4)) {  // not always as the other pod of its identity
        who.http = static_cast<std::uint16_t>(8080 + random.below(2));
      }
      all.push_back(who);
    }
    Who node;
    node.cluster = cluster;
    node.name = "node-" + cluster;
    node.address = 192U << 24 | id << 8 | 9;
    node.identity = id == 1 ? 1 : 6;
    node.node = true;
    all.push_back(node);
  }
  return all;
}

class PolicyMaker {
 public:
  explicit PolicyMaker(Random& random) : random_(random) {}

  std::vector<Policy> make() {
    std::vector<Policy> all(1 + random_.below(8));
    for (std::size_t i = 0; i < all.size(); ++i) {
      Policy& policy = all[i];
      policy.name = "p" + std::to_string(i);
      policy.kind = random_.of<Policy::Kind>(
          {Policy::Kind::kCilium, Policy::Kind::kCilium, Policy::Kind::kClusterwide, Policy::Kind::kKubernetes});
      kubernetes_ = policy.kind == Policy::Kind::kKubernetes;
      policy.ns = policy.kind == Policy::Kind::kClusterwide ? "" : random_.one_in(3) ? "bank" : "shop";
      policy.subjects = random_.one_in(3) ? Selector{} : selector(false);
      if (kubernetes_) {
        policy.deny_ingress = random_.one_in(2);
        policy.deny_egress = !*policy.deny_ingress || random_.one_in(3);
      } else {
        policy.deny_ingress = random_.one_in(5) ? std::optional(random_.one_in(2)) : std::nullopt;
        policy.deny_egress = random_.one_in(5) ? std::optional(random_.one_in(2)) : std::nullopt;
      }
      for (std::size_t rules = 1 + random_.below(3); rules > 0; --rules) {
        policy.rules.push_back(rule(policy));
      }
    }
    return all;
  }

 private:
  Rule rule(const Policy& policy) {
    Rule out;
    out.egress =
        kubernetes_ ? (*policy.deny_egress && (!*policy.deny_ingress || random_.one_in(2))) : random_.one_in(2);
    out.deny = !kubernetes_ && random_.one_in(4);
    switch (random_.below(5)) {
      case 0:
      case 1:
        out.peers = Rule::Peers::kSelectors;
        for (std::size_t n = 1 + random_.below(2); n > 0; --n) {
          out.selectors.push_back(random_.one_in(6) ? Selector{} : selector(!kubernetes_));
        }
        break;
      case 2:
        out.peers = kubernetes_ ? Rule::Peers::kUnspecified : Rule::Peers::kEntities;
        if (!kubernetes_) {
          out.entities.push_back(
              random_.of<std::string>({"all", "world", "host", "remote-node", "cluster", "none", "health"}));
        }
        break;
      case 3:
        out.peers = Rule::Peers::kBlocks;
        out.blocks.push_back(block());
        break;
      default:
        out.peers = Rule::Peers::kUnspecified;
    }
    if (random_.one_in(2) || (out.peers == Rule::Peers::kUnspecified && !random_.one_in(6))) {
      ports(out);
    }
    return out;
  }

  Selector selector(bool with_scope) {
    Selector out;
    const auto add = [&](const char* key, const std::vector<std::string>& values) {
      Condition c;
      c.key = key;
      c.op = static_cast<Condition::Operator>(random_.one_in(2) ? 0 : random_.below(4));
      if (c.op == Condition::Operator::kIn || c.op == Condition::Operator::kNotIn) {
        c.values.push_back(random_.of(values));
        if (random_.one_in(3)) {
          c.values.push_back("other");
        }
      }
      out.push_back(c);
    };
    add("app", {"a", "b", "c"});
    if (random_.one_in(3)) {
      add("tier", {"x", "z"});
    }
    if (with_scope && random_.one_in(3)) {
      add(kNamespace, {"shop", "bank"});
    }
    if (with_scope && random_.one_in(2)) {
      add(kCluster, {"east", "west"});
    }
    return out;
  }

  Block block() {
    Block out;
    out.length = random_.of<unsigned>({0, 8, 16, 24, 30, 32});
    const std::uint32_t host = 10U << 24 | static_cast<std::uint32_t>(1 + random_.below(2)) << 16 | 77U << 8 |
                               static_cast<std::uint32_t>(12 + random_.below(4));
    const auto cut = [](std::uint32_t address, unsigned length) {
      return length == 0 ? 0U : address & ~((std::uint64_t{1} << (32 - length)) - 1);
    };
    out.address = static_cast<std::uint32_t>(cut(host, out.length));
    if (out.length < 30 && random_.one_in(2)) {
      const unsigned length = random_.of<unsigned>({24, 31, 32});
      if (length > out.length) {
        out.except.emplace_back(static_cast<std::uint32_t>(cut(host, length)), length);
      }
    }
    return out;
  }

  void ports(Rule& out) {
    if (!kubernetes_ && random_.one_in(5)) {
      out.ports.push_back({"ICMP", random_.one_in(3) ? std::uint16_t{0} : std::uint16_t{8}, 0, false});
      return;
    }
    for (std::size_t n = 1 + random_.below(2); n > 0; --n) {
      Port port;
      port.protocol = random_.of<std::string>({"TCP", "UDP", "SCTP", kubernetes_ ? "TCP" : "ANY"});
      port.named = random_.one_in(5);
      port.first = random_.of<std::uint16_t>({53, 80, 443, 8080});
      if (!kubernetes_ && random_.one_in(8)) {
        port.first = 0;
      } else if (!port.named && random_.one_in(3)) {
        port.last = static_cast<std::uint16_t>(port.first + random_.below(400));
      }
      out.ports.push_back(port);
    }
  }

  Random& random_;
  bool kubernetes_ = false;
};

Packet random_packet(Random& random, const std::vector<Who>& fleet) {
  Packet packet;
  do {
    packet.from = &random.of(fleet);
    packet.to = &random.of(fleet);
  } while (packet.from == packet.to || (packet.from->cluster != "east" && packet.to->cluster != "east"));
  packet.protocol = random.of<std::uint8_t>({6, 6, 6, 17, 17, 132, 1});
  packet.source_port = static_cast<std::uint16_t>(40000 + random.below(4));
  packet.port = packet.protocol == 1 ? std::uint16_t{0} : random.of<std::uint16_t>({53, 80, 81, 443, 600, 8080, 8081});
  return packet;
}

std::string describe(const Packet& p, const std::vector<Policy>& policies) {
  std::string text = p.from->cluster + "/" + p.from->name + " > " + p.to->cluster + "/" + p.to->name + " protocol " +
                     std::to_string(p.protocol) + " port " + std::to_string(p.port) + "\n";
  for (const Who* who : {p.from, p.to}) {
    for (const auto& [key, value] : who->labels) {
      text += " " + key + "=" + value;
    }
    text += "\n";
  }
  for (const Policy& policy : policies) {
    text += manifest(policy);
  }
  return text;
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(PolicyReference, AgreesWithThePathOnRandomPoliciesAndPackets) {
  const std::uint64_t seed = number_from("ISTHMUS_SEED", std::random_device{}());
  const std::uint64_t pairs = number_from("ISTHMUS_POLICY_PAIRS", kPairs);
  std::cout << "ISTHMUS_SEED=" << seed << " ISTHMUS_POLICY_PAIRS=" << pairs << std::endl;
  Random random(seed);
  std::vector<Who> fleet = make_fleet(random);
  Gateway gateway;
  std::uint64_t sent = 0, passed = 0;
  while (sent < pairs) {
    // Often changes an identity's labels, or a pod's named port, under live connections.
    Who& renamed = fleet[random.below(fleet.size())];
    if (renamed.labelled) {
      renamed.http = random.one_in(4) ? std::uint16_t{0} : static_cast<std::uint16_t>(8080 + random.below(2));
    }
    Who& changed = fleet[random.below(fleet.size())];
    if (changed.labelled && !changed.local) {
      const std::string app = random.of<std::string>({"a", "b", "c"});
      for (Who& who : fleet) {
        if (who.identity == changed.identity) {
          who.labels["app"] = app;
        }
      }
    }
    const std::vector<Policy> policies = PolicyMaker(random).make();
    std::string text;
    for (const Policy& policy : policies) {
      text += manifest(policy);
    }
    gateway.set("east", "policies.yaml", text);
    for (const char* cluster : {"east", "west"}) {
      gateway.set(cluster, "fleet.yaml", fleet_manifest(fleet, cluster));
    }
    gateway.publish();
    const Evaluator reference(policies);
    for (std::size_t batch = 0; batch < kPacketsPerSet / kBatch; ++batch) {
      std::vector<Packet> packets;
      std::set<Tuple> tuples;
      while (packets.size() < kBatch) {
        const auto packet = random_packet(random, fleet);
        if (tuples.insert(tuple_of(packet)).second) {
          packets.push_back(packet);
        }
      }
      const std::set<Tuple> out = gateway.send(packets);
      for (const auto& packet : packets) {
        const bool expected = reference.passes(packet);
        passed += expected ? 1 : 0;
        ASSERT_EQ(out.contains(tuple_of(packet)), expected)
            << "seed " << seed << " after " << sent << " packets: " << describe(packet, policies);
      }
      sent += packets.size();
    }
    ASSERT_EQ(gateway.other_drops(), 0U) << "seed " << seed;
  }
  std::cout << sent << " packets, " << passed << " passed" << std::endl;
  EXPECT_GT(passed, sent / 20) << "too few packets pass to compare anything";
  EXPECT_LT(passed, sent - sent / 20);
}

}  // namespace
}  // namespace isthmus
