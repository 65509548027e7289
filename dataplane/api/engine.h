// The engine's interface to control and the command line: devices and tables in, counters and flows out.
//
// Lifetime: create → add_device* → start → (publish, upsert_*, set_adjacency, read)* → stop → destroy. Of one that
// takes over from an engine that runs: create → add_device* → (publish, upsert_*, set_adjacency)* → adopt → start → as
// before. Threads: every member function is called by the control thread only (run_round by the thread that drives the
// worker). Nothing here blocks on a worker. Errors carry what, where and fix.
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

#include "dataplane/api/counters.h"
#include "dataplane/api/flow_event.h"
#include "dataplane/api/handed_over.h"
#include "dataplane/api/openings.h"
#include "dataplane/api/tables.h"
#include "dataplane/base/defaults.h"
#include "dataplane/base/flow_timeouts.h"
#include "dataplane/base/result.h"
#include "dataplane/base/state_start.h"
#include "dataplane/io/device.h"

namespace isthmus {

using FlowEventCounts = std::array<FlowEventCount, kFlowVerdicts>;  // by FlowVerdict

class KernelFlows;

// Handing settled flows down to XDP (dataplane/handdown).
struct HandDownOptions {
  std::shared_ptr<KernelFlows> flows = nullptr;                    // where to (open_kernel_flows()); nullptr: nowhere
  std::uint32_t packets_per_second = kDefaultHotPacketsPerSecond;  // of a direction that make it worth it
  // How often what XDP has forwarded is looked at: so late may times of last packets be.
  Seconds sweep{1};
};

enum class IdlePolicy : std::uint8_t { kSleep, kSpin };
// Whether workers divide among themselves, by flows, what a device gives to one of them: where it does not do so
// itself.
enum class WorkerHandoff : std::uint8_t { kAuto, kOn, kOff };
enum class MidstreamPolicy : std::uint8_t { kLoose, kDrop };

struct EngineOptions {
  std::string name = "isthmus";  // names the file of Engine::state_file()
  std::string state_directory = "/dev/shm";
  bool keep_state = true;  // false: anonymous mapping, no state survives a restart
  // Another engine of this name runs: its table is opened as it is, and start() comes after the first publish().
  bool beside = false;
  std::vector<int> cores;  // one worker each, pinned; empty: one worker, not pinned
  unsigned workers = 1;    // used when `cores` is empty
  IdlePolicy idle = IdlePolicy::kSleep;
  WorkerHandoff worker_handoff = WorkerHandoff::kAuto;
  std::uint32_t frames = kDefaultFrames;  // packet buffers per worker
  ClusterId cluster;
  Realm realm;
  ClusterBits cluster_bits;
  TunnelEnds tunnel;
  DeviceId underlay_device{0};                                  // index in the order of add_device()
  std::optional<IpAddress> translation_ipv4, translation_ipv6;  // source addresses for flows with a local backend
  // Backends on a Cilium node with Geneve answer clients of our cluster themselves, in the VIP's name: it does DSR.
  bool direct_return = false;
  std::uint16_t translation_first = 32768, translation_last = 65535;
  std::uint32_t connections = kDefaultConnections;  // capacity of the connection table
  // Limit of connections that are not open yet; 0: a quarter of the capacity; `connections`: no limit.
  std::uint32_t half_open_limit = 0;
  std::uint32_t endpoints = 65536;  // initial size of the endpoint table, which grows
  MidstreamPolicy midstream = MidstreamPolicy::kLoose;
  Seconds unknown_endpoint_hold{10};  // how long the VNI is accepted for a source that is not in the endpoint table yet
  Seconds identity_grace{5};          // how long an endpoint's previous identity is still accepted
  FlowTimeouts timeouts;
  std::uint32_t fragments = kDefaultFragmentedDatagrams;  // datagrams in fragments at a time; 0: none
  Seconds fragment_timeout{2};                            // how long a datagram's fragments may take
  std::uint32_t icmp_errors_per_second = 100;             // of ours, and passed on without a connection; per worker
  std::uint32_t echo_answers_per_second = 1000;           // to pings of VIPs, per worker and source prefix; 0: none
  std::uint32_t flow_events_per_second = 10000;  // of each verdict, per worker; events above it are only counted
  bool drive_by_caller = false;                  // no threads: the caller calls run_round() (benchmarks, packet tests)
  HandDownOptions hand_down = {};
};

// A drop reason with its counters since start.
struct DropCount {
  std::string_view name;     // "no_live_backend"
  std::string_view text;     // description for operators
  std::string_view hint;     // what to check
  unsigned cilium_code = 0;  // Cilium's drop reason number
  std::uint64_t packets = 0;
  std::uint64_t egress = 0, ingress = 0;                         // of `packets`: from our cluster; from another one
  std::uint64_t bytes = 0, egress_bytes = 0, ingress_bytes = 0;  // frame lengths of the above
};

struct DeviceStatus {
  std::string name, description;
  QueueCounters counters;
  bool up = true;  // at the last check_devices()
};

// The sums over all workers; what each field counts is in dataplane/stats/counters.def.
struct EngineCounters : WorkerCounts, TableCounts {
  FlowCounts connections;
  StateStart connections_start = StateStart::kNew;
  std::string connections_start_reason;  // why an earlier table was discarded, or this one is not kept; else empty
  FlowEventCounts flow_events;
  std::vector<DropCount> drops;  // every reason, including those at 0
  std::vector<DeviceStatus> devices;
};

// A tracked connection as listed by `isthmus connections`.
struct FlowRecord {
  IpProtocol protocol = IpProtocol::kTcp;
  IpAddress client, frontend;  // forward key: source, destination before translation
  L4Port client_port, frontend_port;
  IpAddress backend, translated_client;  // reply key: source, destination before translation is undone
  L4Port backend_port, translated_client_port;
  ServiceId service;  // kNoService: direct
  Side from = Side::kLocal, to = Side::kLocal;
  PeerId forward_peer, reply_peer;  // peer of each direction; kNoPeer: local side
  Identity source_identity;
  std::uint64_t forward_packets = 0, forward_bytes = 0, reply_packets = 0, reply_bytes = 0;
  bool established = false, closing = false;
  bool forward_handed_down = false, reply_handed_down = false;  // XDP forwards them, while their decisions stand
  std::uint32_t idle_seconds = 0, expires_in_seconds = 0;
};

// Events from workers to control.
struct NeighbourRequest {
  DeviceId device;
  IpAddress address;
};
struct ProbeAnswer {
  PeerId peer;
  std::uint32_t sequence = 0;
  bool draining = false;  // it says that it is drained
};
// What a peer's last probe says of whom it sends to. Peers that do not understand "drained" say nothing.
enum class ProbeSaid : std::uint8_t { kNothing, kNoOther, kAnother };
// A router of the underlay says that a packet to the peer was too long. Anybody may say so: an ICMP error about what
// looks like a tunnel packet of ours.
struct PathMtuClaim {
  PeerId peer;
  Bytes mtu;
  IpAddress router;
  std::uint16_t way = 0;  // of that packet, as of send_probe()
};
// Bit of a probe's sequence number: of a probe of a size, which does not say whether the peer lives.
inline constexpr std::uint32_t kSizedProbe = 0x80000000;
struct EngineEvents {
  std::vector<NeighbourRequest> neighbours;
  std::vector<ProbeAnswer> probe_answers;
  std::vector<PathMtuClaim> path_mtu_claims;
  std::vector<OpeningOutcome> openings;
  std::uint64_t lost = 0;           // events lost to a full queue since start, those of openings among them
  std::uint64_t openings_lost = 0;  // since start
};

class Engine {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Engine>> create(const EngineOptions& options);
  // Path of the file in which connections outlive their process.
  [[nodiscard]] static std::string state_file(const std::string& state_directory, const std::string& name);
  // The size of that file.
  [[nodiscard]] static std::uint64_t state_bytes(std::uint32_t connections);
  virtual ~Engine() = default;

  [[nodiscard]] virtual Result<DeviceId> add_device(std::unique_ptr<Device> device) = 0;
  [[nodiscard]] virtual Device& device(DeviceId id) = 0;
  // Looks at every device, by id: follows MAC and MTU (decisions made with the old ones are revalidated), puts
  // attachments back, and takes an interface that was made anew into use, for which the workers pause.
  [[nodiscard]] virtual std::vector<DeviceCondition> check_devices() = 0;
  // Starts the workers. They receive packets only after the first publish(). Of an engine beside another one: takes its
  // table, and its interfaces, too; that one stands for good, or has ended.
  [[nodiscard]] virtual Status start() = 0;
  virtual void stop() = 0;
  // Stops the workers between two bursts and describes all that a successor needs (dataplane/api/handed_over.h). Error:
  // it cannot be handed over, or not now, since frames wait for a neighbour and are not to be `dropped`; the workers
  // run on.
  [[nodiscard]] virtual Result<HandedEngine> hand_over(bool dropped) = 0;
  // Goes on after hand_over(): no successor has taken it.
  [[nodiscard]] virtual Status resume() = 0;
  // Of an engine beside another one, before start(): takes up what that one has handed over. Changes nothing of it, so
  // that, after an error, that one may resume.
  [[nodiscard]] virtual Status adopt(HandedEngine handed) = 0;
  // With drive_by_caller: runs one round of a worker on the calling thread. Returns the number of packets received.
  virtual unsigned run_round(WorkerId worker) = 0;
  // With drive_by_caller: takes flows back and hands hot ones down, on the calling thread; `look`: and looks at all
  // that is down, as is done now and then. Nothing where flows are not handed down.
  virtual void hand_down_round(bool look = true) = 0;

  // Applies a delta: the new tables become visible to workers atomically; then the epoch words of what changed are
  // incremented. Also updates the devices' steering rules; if that fails, the new tables stay published, and the next
  // publish, even an empty one, tries again.
  [[nodiscard]] virtual Status publish(const TableDelta& delta) = 0;
  // A new endpoint that does not fit the table is left out and counted; the table holds 16 million.
  virtual void upsert_endpoints(std::span<const EndpointEntry> endpoints) = 0;
  virtual void remove_endpoints(Realm realm, std::span<const IpAddress> addresses) = 0;
  [[nodiscard]] virtual std::size_t endpoint_count() const = 0;

  // Finds or creates the adjacency of a next hop, which stays until it is released.
  [[nodiscard]] virtual AdjacencyId adjacency(DeviceId device, const IpAddress& next_hop) = 0;
  // Call after the publish that gives it up, when neither a peer nor a route names it any more.
  virtual void release_adjacency(AdjacencyId id) = 0;
  // Whether a decision took it since the last call; decisions made before are made again, so that the next call tells
  // whether the adjacency is in use.
  [[nodiscard]] virtual bool take_adjacency_used(AdjacencyId id) = 0;
  // Frees adjacencies that workers made this long ago and nobody asked for since. Call every few seconds.
  virtual void age_adjacencies(Seconds limit) = 0;
  // nullopt: unresolved; one packet per worker and adjacency waits for it, others are dropped.
  virtual void set_adjacency(AdjacencyId id, std::optional<MacAddress> mac) = 0;

  // Sends one probe through the tunnel; the peer's engine answers, and the answer arrives as an event. `another`: tells
  // it that another gateway of its cluster answers, and is not drained. `bytes`: as an outer IP packet of that length,
  // up to the underlay device's MTU, and whatever the path's is; 0: as short as it can be. `way`: says which of several
  // equal ways of the underlay it takes, as a flow's ports do: any number. False, counted: it is not sent, because too
  // many are waiting for the worker that sends them.
  [[nodiscard]] virtual bool send_probe(PeerId peer, std::uint32_t sequence, bool another, Bytes bytes = Bytes{0},
                                        std::uint16_t way = 0) = 0;
  // Whether answers to peers' probes say that this gateway is drained; at first they do not. Peers that do not
  // understand it are not answered then. What still comes is forwarded.
  virtual void set_draining(bool on) = 0;
  [[nodiscard]] virtual ProbeSaid probe_said(PeerId peer) const = 0;
  [[nodiscard]] virtual EngineEvents poll_events() = 0;
  // Appends the flow events since the last call, in order per worker.
  virtual void poll_flow_events(std::vector<FlowEvent>& events) = 0;
  [[nodiscard]] virtual FlowEventCounts flow_event_counts() const = 0;
  // Readable when poll_events() or poll_flow_events() has something to return; poll_events() resets it.
  [[nodiscard]] virtual int event_fd() const = 0;

  [[nodiscard]] virtual EngineCounters counters() const = 0;
  // How often each worker has polled its queues, by worker. While it runs, a worker that lives does so ten times a
  // second.
  [[nodiscard]] virtual std::vector<std::uint64_t> polls() const = 0;
  // Calls `visit` for live connections until it returns false.
  virtual void visit_flows(const std::function<bool(const FlowRecord&)>& visit) const = 0;
};

}  // namespace isthmus
