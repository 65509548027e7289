// The engine as control and the command line see it: devices in, tables in, counters and flows out.
//
// Lifetime: create → add_device* → start → (publish, upsert_*, set_adjacency, read)* → stop → destroy.
// Threads: every member function is called by the control thread only (run_round by that worker's driver). Nothing here
// blocks on a worker. Errors carry what, where and remedy.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/flow_event.h"
#include "dataplane/api/tables.h"
#include "dataplane/base/result.h"
#include "dataplane/io/device.h"

namespace isthmus {

using FlowEventCounts = std::array<FlowEventCount, kFlowVerdicts>;  // by FlowVerdict

enum class IdlePolicy : std::uint8_t { kSleep, kSpin };
enum class MidstreamPolicy : std::uint8_t { kAdopt, kDrop };

struct EngineOptions {
  std::string name = "isthmus";  // names the shared mapping
  std::string state_directory = "/dev/shm";
  bool keep_state = true;  // false: anonymous mapping, nothing survives
  std::vector<int> cores;  // one worker each, pinned; empty: one worker, not pinned
  unsigned workers = 1;    // used when `cores` is empty
  IdlePolicy idle = IdlePolicy::kSleep;
  std::uint32_t frames = 16384;  // chunks per worker
  ClusterId cluster;
  Realm realm;
  ClusterBits cluster_bits;
  IpAddress tunnel_address;  // our underlay address (IPv4)
  L4Port tunnel_port{8472};
  DeviceId underlay_device{0};                                  // index of add_device order
  std::optional<IpAddress> translation_ipv4, translation_ipv6;  // source addresses for flows with a local backend
  std::uint16_t translation_first = 32768, translation_last = 65535;
  std::uint32_t connections = 262144;  // capacity of the connection table
  std::uint32_t unreplied = 0;         // quota of unreplied flows; 0: a quarter of the capacity
  std::uint32_t endpoints = 65536;     // initial size of the endpoint table, grows
  MidstreamPolicy midstream = MidstreamPolicy::kAdopt;
  Seconds unknown_endpoint_hold{10};  // how long a VNI holds for a source the endpoint table does not know yet
  Seconds identity_grace{5};          // how long an endpoint's previous identity is still accepted
  Seconds timeout_tcp{8000}, timeout_tcp_syn{60}, timeout_tcp_closing{10}, timeout_other{60};
  std::uint32_t icmp_errors_per_second = 100;    // of our own making, per worker
  std::uint32_t flow_events_per_second = 10000;  // of each verdict, per worker; what is beyond is counted only
  bool drive_by_caller = false;                  // no threads: the caller runs rounds itself (benchmarks, packet tests)
};

// A reason why packets died, with its count since start.
struct DropCount {
  std::string_view name;     // "no_backend"
  std::string_view text;     // what an operator reads
  std::string_view hint;     // what to look at
  unsigned cilium_code = 0;  // Cilium's drop reason number
  std::uint64_t packets = 0;
  std::uint64_t egress = 0, ingress = 0;  // of them, those that came from our cluster, and from another
  std::uint64_t bytes = 0, egress_bytes = 0, ingress_bytes = 0;  // of all these, their frames' lengths
};

struct DeviceStatus {
  std::string name, description;
  QueueCounters counters;
  bool up = true;
};

struct EngineCounters {
  std::uint64_t rx_packets = 0, tx_packets = 0;
  std::uint64_t encapsulated = 0, decapsulated = 0;
  std::uint64_t fabric_bytes = 0, local_bytes = 0;  // of forwarded IP packets, by the side they left by
  std::uint64_t connections_now = 0, connections_created = 0, connections_unreplied = 0, connections_capacity = 0;
  std::uint64_t connections_adopted = 0;  // taken over from the mapping of an earlier process
  std::uint64_t connections_bytes = 0, connections_huge_page_bytes = 0;  // of the mapping; of these on huge pages
  std::uint64_t hits = 0, misses = 0, readmissions = 0;
  std::uint64_t icmp_sent = 0, waiting_for_neighbour = 0;
  std::uint64_t policy_audited = 0;  // decisions to deny that audit let pass
  FlowEventCounts flow_events;
  std::vector<DropCount> drops;  // every reason, also those at 0
  std::vector<DeviceStatus> devices;
};

// A tracked connection as listed by `isthmus connections`. Addresses of both directions as they are seen on each side.
struct FlowRecord {
  IpProtocol protocol = IpProtocol::kTcp;
  IpAddress client, frontend;  // forward key: source and destination before translation
  L4Port client_port, frontend_port;
  IpAddress backend, translated_client;  // reply key: source and destination of the reply before it is undone
  L4Port backend_port, translated_client_port;
  ServiceId service;  // kNoService: direct
  Side from = Side::kLocal, to = Side::kLocal;
  PeerId forward_peer, reply_peer;  // tunnel ends of each direction where fabric
  Identity source_identity;
  std::uint64_t forward_packets = 0, forward_bytes = 0, reply_packets = 0, reply_bytes = 0;
  bool replied = false, closing = false;
  std::uint32_t idle_seconds = 0, expires_in_seconds = 0;
};

// What workers tell control.
struct NeighbourWanted {
  DeviceId device;
  IpAddress address;
};
struct ProbeAnswer {
  PeerId peer;
  std::uint32_t sequence = 0;
};
struct EngineEvents {
  std::vector<NeighbourWanted> neighbours;
  std::vector<ProbeAnswer> probe_answers;
  std::uint64_t lost = 0;  // events that found their queue full
};

class Engine {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Engine>> create(const EngineOptions& options);
  virtual ~Engine() = default;

  [[nodiscard]] virtual Result<DeviceId> add_device(std::unique_ptr<Device> device) = 0;
  [[nodiscard]] virtual Device& device(DeviceId id) = 0;
  // Starts the workers. They take packets only after the first publish().
  [[nodiscard]] virtual Status start() = 0;
  virtual void stop() = 0;
  // With drive_by_caller: one round of one worker on the calling thread. Returns how many packets came in.
  virtual unsigned run_round(WorkerId worker) = 0;

  // Applies a delta: new tables become visible to workers at once and whole; then the epoch words of what changed move.
  // Also brings the devices' steering in line; where that fails the tables stand all the same, and the next publish,
  // also an empty one, steers again.
  [[nodiscard]] virtual Status publish(const TableDelta& delta) = 0;
  virtual void upsert_endpoints(std::span<const EndpointEntry> endpoints) = 0;
  virtual void remove_endpoints(Realm realm, std::span<const IpAddress> addresses) = 0;
  [[nodiscard]] virtual std::size_t endpoint_count() const = 0;

  // Finds or makes the adjacency of a next hop. Stable for the life of the engine.
  [[nodiscard]] virtual AdjacencyId adjacency(DeviceId device, const IpAddress& next_hop) = 0;
  // Resolved, or (nothing) unresolved: packets towards it wait, one per worker and adjacency, then drop.
  virtual void set_adjacency(AdjacencyId id, std::optional<MacAddress> mac) = 0;

  // Sends one probe inside the tunnel; the peer's engine answers by itself, the answer comes back as an event.
  virtual void send_probe(PeerId peer, std::uint32_t sequence) = 0;
  [[nodiscard]] virtual EngineEvents poll_events() = 0;
  // Appends what the workers have reported of packets since the last call, in order for each worker.
  virtual void poll_flow_events(std::vector<FlowEvent>& events) = 0;
  [[nodiscard]] virtual FlowEventCounts flow_event_counts() const = 0;
  // Becomes readable when poll_events() or poll_flow_events() has something; poll_events() makes it quiet again.
  [[nodiscard]] virtual int event_fd() const = 0;

  [[nodiscard]] virtual EngineCounters counters() const = 0;
  // Calls `visit` for live connections until it returns false.
  virtual void visit_flows(const std::function<bool(const FlowRecord&)>& visit) const = 0;
};

}  // namespace isthmus
