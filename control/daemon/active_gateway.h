// A gateway whose own Cluster and Gateway objects are known: connects node, engine, compiler, health and the sinks.
//
// The model changes → apply() → endpoints, tables, routes on the node, DNS. The kernel reports neighbours, links and
// routes; the engine asks for neighbours and delivers probe answers; health reports unreachable peers: each ends in
// apply() or in an adjacency. Owner: Gateway. Thread: control only, from the event loop; compiler and model are used in
// turns (loop/turns.h), and the compiler works on the thread of these, so that probes, neighbours and packets'
// questions are answered meanwhile. Failure: start() returns it; afterwards every problem is in the problem list and
// the last good state stays in force.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/compile/compiler.h"
#include "control/daemon/adjacencies.h"
#include "control/daemon/device_watch.h"
#include "control/daemon/hubs.h"
#include "control/daemon/local_side.h"
#include "control/daemon/node.h"
#include "control/daemon/problem_list.h"
#include "control/health/health.h"
#include "control/health/known_peers.h"
#include "control/health/path_mtu.h"
#include "control/loop/event_loop.h"
#include "control/loop/turns.h"
#include "control/model/model.h"
#include "control/observe/observer.h"
#include "control/restore/claim_holders.h"
#include "control/sink/dns.h"

namespace isthmus {

class ActiveGateway {
 public:
  struct Calls {
    // After each apply(): the first time, the first tables are published.
    std::function<void()> applied;
    // Not empty: another gateway of this name runs. Called as soon as the first tables are published; starts the
    // engine. False: it cannot, and this is about to be destroyed.
    std::function<bool()> take_over{};
  };
  // All references must outlive the result. Called within a turn, as apply() may be.
  [[nodiscard]] static Result<std::unique_ptr<ActiveGateway>> start(const GatewayConfig& config, const OwnGateway& own,
                                                                    Model& model, Hubs& hubs, ProblemList& problems,
                                                                    EventLoop& loop, Turns& turns, Calls calls);
  // Waits for the compiler. Stops the engine. Leaves devices, routes and XDP programs of the node in place.
  ~ActiveGateway();
  ActiveGateway(const ActiveGateway&) = delete;
  ActiveGateway& operator=(const ActiveGateway&) = delete;

  // Brings endpoints, tables, routes and DNS up to date with the model as it is when the turn for it comes.
  void apply();
  // What an earlier process, or an earlier one of these, knew of peers. Before the first apply() comes into force, the
  // first tables are made by it.
  void remember(const KnownPeers& known);
  [[nodiscard]] KnownPeers known_peers() const;

  [[nodiscard]] const OwnGateway& own() const { return own_; }
  [[nodiscard]] const Node& node() const { return node_; }
  [[nodiscard]] const Compiler& compiler() const { return *compiler_; }
  [[nodiscard]] const Health& health() const { return *health_; }
  [[nodiscard]] const PathMtus& path_mtus() const { return *path_mtus_; }
  // Whether the gateway of that name answers probes, and the names of all that do.
  [[nodiscard]] bool answers(const std::string& gateway) const;
  [[nodiscard]] std::set<std::string> answering() const;
  // Names of the cluster's other gateways in the hub, which are not probed.
  [[nodiscard]] const std::vector<std::string>& others() const { return others_; }
  // By what they said last with their probes: gateways of other clusters that answer and have, or have not, another
  // gateway of this cluster to send to.
  struct Ways {
    std::vector<std::string> elsewhere, here;
  };
  [[nodiscard]] Ways ways_of_peers() const;
  [[nodiscard]] const Adjacencies& adjacencies() const { return *adjacencies_; }
  [[nodiscard]] Observer& observer() const { return *observer_; }
  [[nodiscard]] const FlowNames& flow_names() const { return *flow_names_; }
  // Counts since start: tables published to the engine, and events of the workers that were lost.
  [[nodiscard]] std::uint64_t publishes() const { return publishes_; }
  [[nodiscard]] std::uint64_t events_lost() const { return events_lost_; }
  // How often a backend was left out as an outlier since start.
  [[nodiscard]] std::uint64_t ejections() const { return ejections_; }

 private:
  ActiveGateway(const GatewayConfig& config, const OwnGateway& own, Model& model, Hubs& hubs, ProblemList& problems,
                EventLoop& loop, Turns& turns, Node node);
  [[nodiscard]] Status watch();
  // As Turns::take(), for as long as this exists.
  void in_turn(const Turns::Turn& turn);
  void applied(CompileResult& result);
  void observe();

  void take_kernel_events();
  void take_engine_events();
  void reload_routes();
  void read_node_addresses();
  // From the node's addresses as last read, and the hubs' servers now. True: other ones than before; apply() makes what
  // follows from it.
  bool update_reserved();
  void tick_health();
  // active_gateway_paths.cc
  void make_path_mtus();
  void follow_underlay_mtu();
  void take_claims(const std::vector<PathMtuClaim>& claims);
  void tick_path_mtus();
  // The engine's tables follow what has been learned of paths.
  void take_path_mtus();
  void maintain();
  // What of it needs the model or the compiler.
  void maintain_tables();
  void check_devices();

  // active_gateway_openings.cc
  void take_openings(const EngineEvents& events);
  void log_ejections(const std::vector<EjectionChange>& changes);

  void publish(CompileResult& result);
  void update_gateways();
  void update_dns();
  void keep_holders();
  // active_gateway_health.cc
  // Applies what health reports: unreachable peers and clusters leave the tables.
  void take_health_changes();
  [[nodiscard]] Reachability reachability() const;
  // After the first publish(): the second, without peers that are known not to serve, before a packet comes.
  void leave_known_peers();
  void list_problems(const std::vector<Problem>& compiled);
  void list_health_problems();
  void list_path_problems();

  const GatewayConfig& config_;
  OwnGateway own_;
  Model& model_;
  const Hubs& hubs_;
  ClaimHolders& holders_;  // the hubs'
  ProblemList& problems_;
  EventLoop& loop_;
  Turns& turns_;
  // Called in its turns only; null once this is going away.
  std::shared_ptr<ActiveGateway*> self_ = std::make_shared<ActiveGateway*>(this);
  Calls calls_;
  Node node_;
  std::unique_ptr<Adjacencies> adjacencies_;
  std::unique_ptr<LocalSide> local_side_;
  std::unique_ptr<DeviceWatch> device_watch_;
  std::unique_ptr<Compiler> compiler_;
  std::unique_ptr<Health> health_;
  std::unique_ptr<PathMtus> path_mtus_;
  Bytes underlay_mtu_;  // of the device, as path_mtus_ knows it
  std::unique_ptr<FlowNames> flow_names_;
  std::unique_ptr<Observer> observer_;
  std::optional<DnsSink> dns_;
  std::vector<std::string> others_;
  std::vector<NodeAddress> node_addresses_;
  bool node_addresses_read_ = false;  // false: the kernel did not answer, and is asked again
  EventLoop::TimerId health_timer_ = 0, path_mtu_timer_ = 0, routes_timer_ = 0, maintenance_timer_ = 0,
                     device_timer_ = 0, rise_timer_ = 0, openings_timer_ = 0;
  std::uint64_t publishes_ = 0, events_lost_ = 0, ejections_ = 0, openings_lost_before_ = 0;
  std::vector<OpeningOutcome> openings_;  // that the compiler has not heard of yet
  bool openings_lost_ = false;            // and some were not kept
  bool apply_due_ = false, observe_due_ = false, maintain_due_ = false, reload_due_ = false;  // their turn is to come
  bool published_ = false;                                                                    // at least once
  bool publish_failed_ = false;
  bool holders_changed_ = false;  // since they were last kept
  bool routes_changed_ = false;   // the kernel's, since the last apply()
};

}  // namespace isthmus
