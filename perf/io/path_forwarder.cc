#include <string>

#include "dataplane/publish/publisher.h"
#include "dataplane/worker/worker.h"
#include "perf/io/forwarders.h"
#include "perf/io/rig.h"

namespace isthmus::perf {
namespace {

// The rig from a gateway's point of view: u0 is the local device, d0 the underlay, s0 the next hop to the only peer.
constexpr DeviceId kUnderlay{0}, kLocal{1};

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

EngineOptions options() {
  EngineOptions engine;
  engine.cluster = ClusterId{1};
  engine.tunnel = tunnel_end(ip("192.0.2.1"));
  engine.underlay_device = kUnderlay;
  engine.endpoints = 64;
  return engine;
}

// A worker with the whole path, driven by the benchmark's loop.
class PathForwarder final : public RoundForwarder {
 public:
  PathForwarder() : shared_(options(), 1), publisher_(shared_) {}

  Status open(const ForwarderSetup& setup) {
    FlowTable::Options table;
    table.keep_state = false;
    table.connections = 4096;
    auto flows = FlowTable::open(table, shared_.quiescence);
    if (!flows) {
      return flows.error();
    }
    shared_.flows = *std::move(flows);
    auto pool = FramePool::create(setup.frames);
    if (!pool) {
      return pool.error();
    }
    Worker::Setup worker;
    worker.pool = *std::move(pool);
    for (const char* interface : {kInterfaceOut, kInterfaceIn}) {
      AfXdpOptions device_options = setup.device;
      device_options.interface = interface;
      auto device = open_af_xdp(device_options);
      if (!device) {
        return device.error();
      }
      shared_.adjacencies.set_device(DeviceId{static_cast<std::uint8_t>(devices_.size())}, (*device)->mac(),
                                     (*device)->mtu());
      auto queue = (*device)->open_queue(WorkerId{0}, 1, *worker.pool);
      if (!queue) {
        return queue.error();
      }
      worker.queues.push_back(*std::move(queue));
      devices_.push_back(*std::move(device));
    }
    worker_ = std::make_unique<Worker>(shared_, std::move(worker));
    return publish();
  }

  unsigned round() override { return worker_->round(); }
  void wait() override { worker_->wait(); }

 private:
  Status publish() {
    const AdjacencyId next_hop = shared_.adjacencies.claim(kUnderlay, ip("192.0.2.254"));
    MacAddress mac;
    std::copy_n(kForwardedAddresses.begin(), mac.bytes.size(), mac.bytes.begin());
    shared_.adjacencies.set_mac(next_hop, mac);
    TableDelta delta;
    delta.upsert_peers = {{PeerId{1}, ClusterId{2}, ip("192.0.2.2"), L4Port{8472}, next_hop, true}};
    delta.clusters = {{ClusterId{1}, true, true, {*Prefix::parse(kSources)}, {}},
                      {ClusterId{2}, false, true, {*Prefix::parse(kDestinations)}, {PeerId{1}}}};
    delta.local_routes.emplace();
    if (Status applied = publisher_.apply(delta); !applied) {
      return applied;
    }
    for (auto& device : devices_) {
      if (Status steered = device->steer(publisher_.steer_rules()); !steered) {
        return steered;
      }
    }
    return Ok{};
  }

  SharedState shared_;
  Publisher publisher_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace

Result<std::unique_ptr<RoundForwarder>> make_path_forwarder(const ForwarderSetup& setup) {
  auto forwarder = std::make_unique<PathForwarder>();
  if (Status opened = forwarder->open(setup); !opened) {
    return opened.error();
  }
  return std::unique_ptr<RoundForwarder>(std::move(forwarder));
}

}  // namespace isthmus::perf
