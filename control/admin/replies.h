// The gateway's answers on its admin socket: plain values, and their encoding as one line of JSON.
//
// Every reply is {"ok": true, "<command>": ...} or {"ok": false, "error": {"what", "where", "fix"}}. Addresses are
// text, ports and counts numbers, durations milliseconds or seconds as their name says. Members are only ever added.
// Plain values, any thread. Encoding cannot fail: text that is not UTF-8 is shown with replacement characters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/observe/counts.h"
#include "control/source/source.h"
#include "dataplane/api/devices.h"
#include "dataplane/api/engine.h"
#include "dataplane/api/types.h"

namespace isthmus {

struct ProblemRow {
  std::string where, what, fix;
  std::uint64_t since_ms = 0;  // how long it has existed
};

struct PeerRow {
  PeerId id;
  std::string name;  // of the Gateway object, or of the node
  std::string cluster;
  IpAddress address;
  L4Port port;
  bool gateway = false;
  // "alive", "draining", "unreachable", "suspect", "untried"; empty for nodes, which are not probed.
  std::string health;
  std::optional<std::uint64_t> last_answer_ms;  // ago
  std::uint64_t round_trip_us = 0;              // of the last answer; 0: none yet
  std::uint64_t failures = 0;                   // how often it became unreachable
  bool reachable = false;                       // the next hop towards it is resolved
  std::string encapsulation{};                  // of packets to it
  Bytes path_mtu{}, inner_mtu{};  // the longest IP packet that the underlay carries to it, and that its tunnel does
  std::string path_mtu_source{};  // "device", "probes", or "icmp"
  bool path_black_hole = false;   // what is longer is lastingly lost, and no router says so
};

struct DeviceRow {
  std::string side;  // "underlay", "local" or "both"
  DeviceStatus status;
  std::optional<SteerCounters> steer;  // of a device with a steer program
};

// A cluster's etcd, or a resource of an API server.
struct HubRow {
  HubState state;
  std::optional<std::uint64_t> last_event_ms;  // ago
};

// Objects that are as they were known before the restart: no list of their hub has confirmed them.
struct RestoredRow {
  std::string hub, cluster;  // empty cluster: fleet objects
  std::size_t objects = 0;
  std::uint64_t age_ms = 0;  // since the hub was last known to be in step
  bool held = false;         // a list of the hub lacks them
};

struct AliasRow {
  std::string cluster;
  Prefix own, alias;
};

struct StatusReply {
  std::string name, cluster, version, config_file;
  ClusterId cluster_id;
  int pid = 0;
  std::uint64_t uptime_ms = 0;
  std::string state;              // "starting", "waiting" (for something in the hub), "serving"
  std::vector<std::string> hubs;  // one line for each
  std::vector<HubRow> hub_parts;
  bool synced = false;  // all of them
  std::vector<RestoredRow> restored;
  std::vector<IpAddress> tunnel_addresses;
  L4Port tunnel_port;
  std::string encapsulation;
  bool isolated = false;  // all peers became unreachable at once: our own link is suspected
  std::size_t services = 0, frontends = 0, objects = 0;
  EngineCounters counters;
  ObserverCounts flows;
  std::uint64_t control_events_lost = 0, publishes = 0;
  std::uint64_t ejections = 0;    // of backends as outliers, since start
  std::size_t ejected = 0;        // at present
  std::vector<AliasRow> aliases;  // of all clusters
  std::vector<PeerRow> peers;
  std::vector<DeviceRow> devices;
  std::vector<ProblemRow> problems;
};

struct DrainReply {
  bool draining = false;
  std::optional<std::vector<std::string>> others;  // the cluster's other gateways in the hub; none while not known
  std::vector<std::string> staying;                // peers that have none of them to send to
  bool elsewhere = false;                          // a peer has said that it has one
};

struct BackendRow {
  std::string cluster;
  IpAddress address;
  L4Port port;
  std::string state;                               // "active", "draining", "unreachable", "ejected"
  std::uint32_t slots = 0;                         // of the frontend's ring; 0: takes no new flows
  unsigned percent = 100;                          // of its weight that it has at present: less while it starts slowly
  std::optional<std::uint32_t> ejected_seconds{};  // for so long it stays an outlier that takes no new flows
};

struct FrontendRow {
  std::string service;  // namespace/name
  IpAddress vip;
  IpProtocol protocol = IpProtocol::kTcp;
  L4Port port;
  std::string port_name;
  std::string affinity;          // "none", "local", "remote"
  std::uint32_t ring_slots = 0;  // 0: no backend takes new flows
  std::vector<BackendRow> backends;
  std::optional<std::uint32_t> client_seconds{};  // for so long a client keeps its backend; nothing: it does not
  std::vector<Prefix> source_ranges{};            // who may open connections; with `ranges_denied`, who may not
  bool ranges_denied = false;
  bool internal_local = false, external_local = false;  // traffic policies: Local
};

struct EndpointRow {
  IpAddress address;
  IpAddress own_address;  // as its cluster has it
  std::string cluster;
  Identity identity;
  std::string name;  // namespace/name of the pod, name of the node; empty when not known
  std::vector<std::string> labels;
  std::string node;  // where the pod runs; empty when not known
};

struct ConnectionRow {
  FlowRecord record;
  std::string service;                   // empty: direct
  std::string forward_peer, reply_peer;  // empty: this cluster's side
  // The other address of an end that is known by an alias outside its cluster: the alias, or its own.
  std::optional<IpAddress> client_alias{}, client_own{}, backend_alias{}, backend_own{};
};

// Rows of a list, up to the limit of the request.
template <typename Row>
struct Listing {
  std::vector<Row> rows;
  bool truncated = false;
};

// Packets lost at the device that no drop reason has.
[[nodiscard]] std::uint64_t lost_packets(const DeviceRow& device);

[[nodiscard]] std::string encode_status(const StatusReply& status);
[[nodiscard]] std::string encode_services(const Listing<FrontendRow>& services);
[[nodiscard]] std::string encode_endpoints(const Listing<EndpointRow>& endpoints);
[[nodiscard]] std::string encode_connections(const Listing<ConnectionRow>& connections);
// The path's drop reasons, and what was lost or refused at each device and in the tables.
[[nodiscard]] std::string encode_drops(const EngineCounters& counters, const std::vector<DeviceRow>& devices);
[[nodiscard]] std::string encode_drain(const DrainReply& drain);
[[nodiscard]] std::string encode_error(const Error& error);

[[nodiscard]] std::string protocol_name(IpProtocol protocol);

}  // namespace isthmus
