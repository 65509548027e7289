// The local side: how the engine reaches this cluster's addresses, and what the node's kernel must send to the engine.
//
// With our veth pair, all local traffic goes to the MAC of its kernel end, and routes on that end bring fleet traffic
// in. With one device for both sides, next hops come from the kernel's own routes, senders must have routes to this
// gateway, and the kernel is told not to forward fleet traffic itself. Owner and thread: control only. Failure:
// problems with their fix; the rest is done.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "control/compile/views.h"
#include "control/daemon/adjacencies.h"
#include "control/daemon/node.h"
#include "dataplane/api/tables.h"

namespace isthmus {

class LocalSide {
 public:
  // Both must outlive this. `translation`: our own addresses, routed to the engine as well.
  LocalSide(Node& node, Adjacencies& adjacencies, std::vector<IpAddress> translation)
      : node_(node), adjacencies_(adjacencies), translation_(std::move(translation)) {}

  // The routes for the engine, when they differ from those of the last call.
  [[nodiscard]] std::optional<std::vector<LocalRoute>> changed_routes(const std::vector<ClusterView>& clusters,
                                                                      const std::vector<NodeRoute>& nodes);
  // Updates the routes on the kernel end, or without one, what the kernel must not forward by itself: linked clusters,
  // VIPs, translation addresses. Calls the kernel only when these changed, or its own routes did.
  void update_kernel(const std::vector<ClusterView>& clusters, const std::vector<ServiceView>& services,
                     bool kernel_changed);
  // The same for these clusters, whose prefixes are others now: costs their share. False: the whole is to be set.
  [[nodiscard]] bool change_kernel(std::span<const ClusterEntry> changed);
  // The kernel end appeared, disappeared, or has another MAC.
  void kernel_end_changed(const LinkState& link);
  // Checks the kernel settings that would keep the node from forwarding to the local device.
  void check_forwarding();

  [[nodiscard]] std::vector<Error> problems() const;
  // The kernel has refused, or not answered, a call of the last changed_routes() or update_kernel(): worth another try.
  [[nodiscard]] bool kernel_failed() const { return route_call_failed_ || kernel_call_failed_; }

 private:
  [[nodiscard]] std::set<Prefix> fleet_prefixes(const std::vector<ClusterView>& clusters,
                                                const std::vector<ServiceView>& services) const;
  // What has come and gone since the last call. False: it cannot be told without the whole.
  [[nodiscard]] bool take_moved(std::span<const ClusterEntry> changed, std::vector<Prefix>& added,
                                std::vector<Prefix>& removed);
  [[nodiscard]] bool change_routes(const std::vector<Prefix>& added, const std::vector<Prefix>& removed);
  void set_routes(const std::vector<Prefix>& own, const std::vector<Prefix>& fleet);
  [[nodiscard]] std::vector<LocalRoute> through_kernel_end(const ClusterView& own) const;
  // nullopt: the kernel did not answer, which is listed.
  [[nodiscard]] std::optional<std::vector<LocalRoute>> through_kernel_routes(const std::vector<Prefix>& own);
  // Notes the next hop for the neighbour watch.
  [[nodiscard]] AdjacencyId next_hop_of(DeviceId device, const KernelRoute& route);
  void add_node_routes(const std::vector<NodeRoute>& nodes, std::vector<LocalRoute>& routes);
  void add_native_routes(const std::vector<ClusterView>& clusters, std::vector<LocalRoute>& routes);

  Node& node_;
  Adjacencies& adjacencies_;
  std::vector<IpAddress> translation_;
  std::set<std::pair<DeviceId, IpAddress>> next_hops_;                   // of the routes
  std::optional<std::vector<LocalRoute>> given_;                         // to the engine
  std::optional<std::pair<std::vector<Prefix>, std::set<Prefix>>> set_;  // in the kernel: own, fleet
  std::map<ClusterId, std::vector<Prefix>> of_cluster_;  // of `set_`, the prefixes of linked clusters other than ours
  RouteOptions route_options_;                           // of these routes
  AdjacencyId kernel_end_;
  std::vector<Error> route_problems_, kernel_problems_, forwarding_problems_;
  std::optional<Error> link_problem_;
  bool route_call_failed_ = false, kernel_call_failed_ = false;
};

}  // namespace isthmus
