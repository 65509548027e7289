// Interface to the node's kernel: links, next hops, neighbours, and the local device with its routes.
//
// Owner: control/daemon. Thread: control only, and always the same one (the network namespace is that of the thread
// that calls open()). The kernel answers requests synchronously; changes are reported by poll(). fd() is readable
// (epoll, level-triggered) whenever poll() has work, its own timers included. Needs CAP_NET_ADMIN and a writable
// /proc/sys/net. Errors carry what, where and fix.
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
  // All changes since the last call. Never blocks.
  [[nodiscard]] KernelEvents poll();

  // --- links
  [[nodiscard]] Result<LinkState> link(const std::string& interface);

  // --- the local device (see local_device.h)
  // Creates the veth pair, or adopts an existing one of these names, and configures it. Both ends are up afterwards.
  [[nodiscard]] Result<LocalDevice> make_local_device(const LocalDeviceOptions& options);
  // Only on an operator's request: a stopping gateway leaves the device and its routes, so that fleet traffic fails
  // closed. Not an error if there is none.
  [[nodiscard]] Status remove_local_device(const LocalDeviceOptions& options);
  // The same of the interface by which the kernel had a device of DPDK's.
  [[nodiscard]] Status remove_twin(const std::string& interface);
  // Node settings that prevent forwarding between the pods and the local device, each with its fix.
  [[nodiscard]] std::vector<Error> forwarding_problems(const std::string& local_device) const;

  // Sets a strict reverse-path filter of the interface to loose (see reverse_path.h). True: it was strict.
  [[nodiscard]] Result<bool> loosen_reverse_path(const std::string& interface);

  // --- fleet traffic that must not leave in clear (see closed_routes.h)
  [[nodiscard]] Status set_closed_routes(std::span<const std::string> interfaces, std::span<const Prefix> sources,
                                         std::span<const Prefix> destinations);
  // The same for what has come and gone of the destinations since then.
  [[nodiscard]] Status change_closed_routes(std::span<const std::string> interfaces, std::span<const Prefix> sources,
                                            std::span<const Prefix> added, std::span<const Prefix> removed);
  // Only on an operator's request: those, and the blackholes behind the routes on the local device.
  [[nodiscard]] Status remove_closed_routes();

  // --- routes on the local device (see device_routes.h)
  // Reconciles our routes in the main table with `prefixes`, including those left by an earlier process; adds before it
  // removes. The error is that of the first route that failed; all others are still applied.
  [[nodiscard]] Result<RouteReport> set_routes(const std::string& interface, std::span<const Prefix> prefixes,
                                               const RouteOptions& options);
  // Adds and removes such routes without a look at the others. False, or an error: something is in the way, and
  // set_routes() is to be called with all prefixes.
  [[nodiscard]] Result<bool> change_routes(const std::string& interface, std::span<const Prefix> added,
                                           std::span<const Prefix> removed, const RouteOptions& options);

  // --- twins of NICs (see twin_addresses.h)
  // What the twin has then is noted. The errors of a success are problems of what goes on nevertheless.
  [[nodiscard]] Result<std::vector<Error>> take_over_addresses(const std::string& nic, const std::string& twin);
  [[nodiscard]] Status give_back_addresses(const std::string& twin);
  // Notes what the twin has now: for after routes_changed.
  [[nodiscard]] Status note_addresses(const std::string& twin);
  // Puts what was noted last at a twin that was removed and made again. Not an error where nothing was.
  [[nodiscard]] Status put_noted_addresses(const std::string& twin);
  // Those that stand in for a NIC, of an earlier process too.
  [[nodiscard]] Result<std::vector<StandingTwin>> standing_twins();

  // --- next hops
  // How the kernel would send to `address` now. Query again after KernelEvents::routes_changed.
  [[nodiscard]] Result<NextHop> next_hop(const IpAddress& address);
  // How the kernel reaches this cluster's own prefixes (main table, without our own routes): routes inside one of them
  // unchanged; a prefix that is covered by wider routes takes the longest of them. Sorted, one per prefix.
  [[nodiscard]] Result<std::vector<KernelRoute>> local_routes(std::span<const Prefix> prefixes);

  // Of this node and its routers. Query again after KernelEvents::routes_changed.
  [[nodiscard]] Result<std::vector<NodeAddress>> node_addresses();

  // --- neighbours
  // Keeps the MAC of (interface, address) resolved and fresh from now on. The next poll() reports its current state,
  // later ones its changes. Idempotent. The interface need not exist yet.
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
