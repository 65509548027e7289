// What the node's kernel knows and must be told: links, next hops, neighbours, and the local device with its routes.
//
// Owner: control/daemon. Thread: control only, and always the same one (the network namespace is that of the thread
// that calls open()). Requests are answered by the kernel at once; what happens meanwhile comes from poll(). fd() is
// readable (epoll, level-triggered) whenever poll() has work, its own timers included. Needs CAP_NET_ADMIN and a
// writable /proc/sys/net. Errors carry what, where and remedy.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/kernel/types.h"

namespace isthmus {

class Kernel {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Kernel>> open();
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  [[nodiscard]] int fd() const;
  // Everything since the last call. Never blocks.
  [[nodiscard]] KernelEvents poll();

  // --- links
  [[nodiscard]] Result<LinkState> link(const std::string& interface);

  // --- the local device (see local_device.h)
  // Makes the veth pair, or adopts one of these names, and brings it into the wanted shape. Both ends are up
  // afterwards.
  [[nodiscard]] Result<LocalDevice> make_local_device(const LocalDeviceOptions& options);
  // Only on a person's request: a stopping gateway leaves the device and its routes, so that fleet traffic fails
  // closed. Not an error when there is none.
  [[nodiscard]] Status remove_local_device(const LocalDeviceOptions& options);
  // What keeps the node from forwarding between its pods and the local device: one sentence with its remedy each.
  [[nodiscard]] std::vector<Error> forwarding_problems(const std::string& local_device) const;

  // --- routes on the local device (see device_routes.h)
  // Brings our routes in the main table in line with `prefixes`, what an earlier process left included; adds before it
  // removes. The error is that of the first route that failed; the others are still done.
  [[nodiscard]] Result<RouteReport> set_routes(const std::string& interface, std::span<const Prefix> prefixes,
                                               const RouteOptions& options);

  // --- next hops
  // How the kernel would send to `address` now. Ask again after KernelEvents::routes_changed.
  [[nodiscard]] Result<NextHop> next_hop(const IpAddress& address);
  // How the kernel reaches this cluster's own prefixes (main table, without our own routes): routes inside one of them
  // as they are; where a wider route covers one, that prefix by way of the longest such route. Sorted, one per prefix.
  [[nodiscard]] Result<std::vector<KernelRoute>> local_routes(std::span<const Prefix> prefixes);

  // --- neighbours
  // Keeps the MAC of (interface, address) resolved and fresh from now on. Its present state comes from the next poll(),
  // changes later. Watching twice is once. The interface may be missing and come later.
  void watch_neighbour(const std::string& interface, const IpAddress& address);
  void unwatch_neighbour(const std::string& interface, const IpAddress& address);
  // As last reported.
  [[nodiscard]] std::optional<MacAddress> neighbour(const std::string& interface, const IpAddress& address) const;

 private:
  class Impl;
  explicit Kernel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace isthmus
