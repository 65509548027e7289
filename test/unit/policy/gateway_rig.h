// A gateway of cluster east from manifest text to packets: the real manifest reader, model, compiler and engine, over
// memory devices. Its inputs are the plain values of reference.h.
#pragma once

#include <compare>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/compiler.h"
#include "control/source/file/hub_objects.h"
#include "dataplane/api/engine.h"
#include "dataplane/io/memory/memory_device.h"
#include "test/support/packet.h"
#include "test/unit/policy/policy_fixture.h"
#include "test/unit/policy/reference.h"

namespace isthmus::policy_reference {

inline IpAddress ip(std::uint32_t address) { return IpAddress::ipv4(Be32::of(address)); }

// Identifies a packet within a batch.
struct Tuple {
  std::uint32_t from = 0, to = 0;
  std::uint8_t protocol = 0;
  std::uint16_t source_port = 0, port = 0;
  friend auto operator<=>(const Tuple&, const Tuple&) = default;
};
inline Tuple tuple_of(const Packet& p) { return {p.from->address, p.to->address, p.protocol, p.source_port, p.port}; }
// Of the inner IPv4 packet at offset `at`.
inline Tuple tuple_of(const test::FrameBytes& frame, std::size_t at) {
  const auto be16 = [&](std::size_t i) { return static_cast<std::uint16_t>(frame[at + i] << 8 | frame[at + i + 1]); };
  const auto be32 = [&](std::size_t i) { return std::uint32_t{be16(i)} << 16 | be16(i + 2); };
  Tuple tuple{be32(12), be32(16), frame[at + 9], 0, 0};
  tuple.source_port = tuple.protocol == 1 ? be16(24) : be16(20);
  tuple.port = tuple.protocol == 1 ? std::uint16_t{0} : be16(22);
  return tuple;
}

inline std::string address_text(const Who& who) { return ip(who.address).to_string(); }

// The manifests of a cluster's pods, nodes and identities.
inline std::string fleet_manifest(const std::vector<Who>& fleet, const std::string& cluster) {
  std::string text;
  std::set<std::uint32_t> identities;
  for (const Who& who : fleet) {
    if (who.cluster != cluster) {
      continue;
    }
    if (who.node) {
      text += "apiVersion: v1\nkind: Node\nmetadata: {name: " + who.name +
              "}\nstatus: {addresses: [{type: InternalIP, address: " + address_text(who) + "}]}\n---\n";
      continue;
    }
    const std::string ns = who.labelled ? who.labels.at("io.kubernetes.pod.namespace") : "vm";
    text += "apiVersion: v1\nkind: Pod\nmetadata: {name: " + who.name + ", namespace: " + ns + "}\nspec: {" +
            (who.http == 0 ? ""
                           : "containers: [{ports: [{name: http, containerPort: " + std::to_string(who.http) + "}]}]") +
            "}\nstatus: {podIP: " + address_text(who) + "}\n---\n";
    if (!who.labelled || who.local) {
      continue;
    }
    text += "apiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata: {name: " + who.name + ", namespace: " + ns +
            "}\nstatus: {identity: {id: " + std::to_string(who.identity) +
            "}, networking: {addressing: [{ipv4: " + address_text(who) + "}]}}\n---\n";
    if (identities.insert(who.identity).second) {
      text += "apiVersion: cilium.io/v2\nkind: CiliumIdentity\nmetadata: {name: \"" + std::to_string(who.identity) +
              "\"}\nsecurity-labels:\n";
      for (const auto& [key, value] : who.labels) {
        text += "  k8s:" + key + ": " + value + "\n";
      }
      text += "---\n";
    }
  }
  return text;
}

template <typename T>
T need(Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().text());
  }
  return std::move(*result);
}

// A gateway of east: takes hub text and forwards packets.
class Gateway {
 public:
  Gateway() {
    EngineOptions options;
    options.drive_by_caller = true;
    options.keep_state = false;
    options.cluster = ClusterId{1};
    options.tunnel = tunnel_end(*IpAddress::parse("192.0.1.1"));
    options.connections = options.half_open_limit = 131072;
    options.frames = 1024;
    engine_ = need(Engine::create(options));
    underlay_ = add_device("underlay", "02:00:00:00:00:01", Bytes{1500});
    local_ = add_device("local", "02:00:00:00:00:11", Bytes{1450});
    need(engine_->start());
    const AdjacencyId underlay = hop(DeviceId{0}, "192.0.1.254"), local = hop(DeviceId{1}, "169.254.0.1");
    CompilerOptions compile;
    compile.cluster = "east";
    compile.gateway = "east-1";
    compile.ring_slots = 251;
    compiler_ = std::make_unique<Compiler>(compile, model_, [underlay](const IpAddress&) { return underlay; });
    TableDelta routes;
    routes.local_routes = {{*Prefix::parse("10.1.0.0/16"), DeviceId{1}, local},
                           {*Prefix::parse("192.0.1.0/24"), DeviceId{1}, local}};
    need(engine_->publish(routes));
    hub_.set_text("fleet.yaml", "", policy_test::PolicyHub::fleet_text());
  }

  void set(const std::string& cluster, const std::string& name, const std::string& text) {
    if (text.empty()) {
      hub_.remove(cluster + "/" + name);
    } else {
      hub_.set_text(cluster + "/" + name, cluster, text);
    }
  }
  void publish() {
    for (const SourceProblem& problem : publish_what_is_valid()) {
      throw std::runtime_error(problem.provenance.text() + ": " + problem.what);
    }
  }
  // Returns the problems of the texts.
  std::vector<SourceProblem> publish_what_is_valid() {
    for (const ObjectDelta& delta : hub_.take_deltas()) {
      model_.apply(0, delta);
    }
    const CompileResult result = compiler_->compile(model_.take_changes());
    engine_->remove_endpoints(Realm{}, result.remove);
    engine_->upsert_endpoints(result.upsert);
    need(engine_->publish(result.delta));
    return hub_.problems();
  }
  // Sends the packets; returns those that were forwarded.
  std::set<Tuple> send(const std::vector<Packet>& packets) {
    for (const auto& packet : packets) {
      const test::FrameBytes frame = frame_of(packet);
      if (!(packet.from->cluster == "east" ? local_ : underlay_)->inject(frame)) {
        throw std::runtime_error("the device is full");
      }
    }
    while (!local_->drained() || !underlay_->drained()) {
      engine_->run_round(WorkerId{0});
    }
    std::set<Tuple> out;
    while (const auto frame = local_->take()) {
      out.insert(tuple_of(*frame, 14));
    }
    while (const auto frame = underlay_->take()) {
      out.insert(tuple_of(*frame, 14 + 20 + 8 + 8 + 14));
    }
    return out;
  }
  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] const Compiler& compiler() const { return *compiler_; }
  // Packets dropped for reasons other than policy.
  [[nodiscard]] std::uint64_t other_drops() const {
    std::uint64_t count = 0;
    for (const DropCount& drop : engine_->counters().drops) {
      count += drop.name.starts_with("policy_") ? 0 : drop.packets;
    }
    return count;
  }

 private:
  MemoryDevice* add_device(const char* name, const char* mac, Bytes mtu) {
    MemoryDeviceOptions options;
    options.name = name;
    options.mac = *MacAddress::parse(mac);
    options.mtu = mtu;
    auto device = need(MemoryDevice::create(options));
    MemoryDevice* raw = device.get();
    (void)need(engine_->add_device(std::move(device)));
    return raw;
  }
  AdjacencyId hop(DeviceId device, const char* address) {
    const AdjacencyId id = engine_->adjacency(device, *IpAddress::parse(address));
    engine_->set_adjacency(id, MacAddress::parse("02:00:00:00:00:fe"));
    return id;
  }
  static test::FrameBytes frame_of(const Packet& p) {
    const test::Endpoint from{ip(p.from->address), p.source_port}, to{ip(p.to->address), p.port};
    test::PacketSpec spec = p.protocol == 6     ? test::tcp(from, to)
                            : p.protocol == 17  ? test::udp(from, to)
                            : p.protocol == 132 ? test::sctp(from, to)
                                                : test::echo_request(from.address, to.address, p.source_port);
    if (p.from->cluster != "east") {
      spec.in_tunnel(*IpAddress::parse("192.0.2.1"), *IpAddress::parse("192.0.1.1"), p.from->identity);
    }
    return spec.bytes();
  }

  HubObjects hub_;
  Model model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Compiler> compiler_;
  MemoryDevice* underlay_ = nullptr;
  MemoryDevice* local_ = nullptr;
};

}  // namespace isthmus::policy_reference
