#include "control/kernel/kernel.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <utility>

#include "control/kernel/closed_routes.h"
#include "control/kernel/device_routes.h"
#include "control/kernel/links.h"
#include "control/kernel/local_device.h"
#include "control/kernel/neighbour_watch.h"
#include "control/kernel/netlink.h"
#include "control/kernel/next_hops.h"
#include "control/kernel/node_addresses.h"
#include "control/kernel/owned_fd.h"
#include "control/kernel/reverse_path.h"
#include "control/kernel/route_entry.h"
#include "control/kernel/twin_addresses.h"

namespace isthmus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array kGroups = {RTNLGRP_LINK,        RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR,
                                RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                                RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,  RTNLGRP_NEXTHOP};

Error descriptor_error(const char* what) {
  return {std::string(what) + ": " + std::strerror(errno), "kernel", "raise the limit of open files (ulimit -n)"};
}

}  // namespace

class Kernel::Impl {
 public:
  Impl(NetlinkRequests requests, NetlinkEvents events, OwnedFd epoll, OwnedFd timer)
      : requests_(std::move(requests)),
        events_(std::move(events)),
        epoll_(std::move(epoll)),
        timer_(std::move(timer)) {}

  [[nodiscard]] Status start();
  [[nodiscard]] int fd() const { return epoll_.get(); }
  [[nodiscard]] KernelEvents poll();
  // Processes pending notifications, so that an answer reflects the current state; poll() reports them.
  void process_notifications();
  // Arms the timer for the next deadline, or immediately if poll() has something to return.
  void arm();

  [[nodiscard]] NetlinkRequests& requests() { return requests_; }
  [[nodiscard]] const Links& links() const { return links_; }
  [[nodiscard]] NeighbourWatch& neighbours() { return neighbours_; }
  [[nodiscard]] std::map<std::string, TwinState>& noted() { return noted_; }

 private:
  void handle(const nlmsghdr* message);
  void link_changed(const LinkState& link);
  void reload_all();

  NetlinkRequests requests_;
  NetlinkEvents events_;
  OwnedFd epoll_, timer_;
  Links links_;
  NeighbourWatch neighbours_{requests_, links_};
  std::map<std::string, TwinState> noted_;  // by twin
  std::map<int, LinkState> pending_links_;  // by interface index
  bool routes_changed_ = false, lost_ = false;
};

Status Kernel::Impl::start() {
  for (const int watched : {events_.fd(), timer_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = watched;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watched, &event) < 0) {
      return descriptor_error("cannot watch the kernel's notifications");
    }
  }
  if (const auto links = links_.reload(requests_); !links) {
    return links.error();
  }
  return Ok{};
}

void Kernel::Impl::link_changed(const LinkState& link) {
  pending_links_[link.index] = link;
  neighbours_.link_changed(link, Clock::now());
  routes_changed_ = true;  // the kernel does not announce IPv4 routes that appear or disappear with a link
}

void Kernel::Impl::handle(const nlmsghdr* message) {
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      if (const auto link = links_.apply(message)) {
        link_changed(*link);
      }
      return;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      neighbours_.apply(message, Clock::now());
      return;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      // Ours change by our own requests, unless somebody else removes them.
      if (const auto route = parse_route(message);
          route && (route->protocol != kRouteProtocol || message->nlmsg_pid != requests_.port())) {
        routes_changed_ = true;
      }
      return;
    default:
      routes_changed_ = true;  // addresses, rules, next hop objects
  }
}

void Kernel::Impl::reload_all() {
  if (const auto changed = links_.reload(requests_)) {
    for (const LinkState& link : *changed) {
      link_changed(link);
    }
  }
  neighbours_.reload(Clock::now());
  routes_changed_ = true;
  lost_ = true;
}

void Kernel::Impl::process_notifications() {
  if (!events_.receive([this](const nlmsghdr* message) { handle(message); })) {
    reload_all();
  }
}

KernelEvents Kernel::Impl::poll() {
  std::uint64_t expirations = 0;
  static_cast<void>(!read(timer_.get(), &expirations, sizeof(expirations)));
  process_notifications();
  neighbours_.maintain(Clock::now());
  KernelEvents events;
  events.neighbours = neighbours_.take_changes();
  for (auto& [index, link] : std::exchange(pending_links_, {})) {
    events.links.push_back(std::move(link));
  }
  events.routes_changed = std::exchange(routes_changed_, false);
  events.lost = std::exchange(lost_, false);
  arm();
  return events;
}

void Kernel::Impl::arm() {
  using std::chrono::nanoseconds;
  itimerspec when{};  // zero: disarmed
  const bool pending = !pending_links_.empty() || routes_changed_ || lost_ || neighbours_.has_changes();
  const auto due = neighbours_.next_due();
  if (pending || due != Clock::time_point::max()) {
    const nanoseconds at = pending ? nanoseconds(1) : std::max(nanoseconds(1), nanoseconds(due.time_since_epoch()));
    when.it_value.tv_sec = at.count() / 1'000'000'000;
    when.it_value.tv_nsec = at.count() % 1'000'000'000;
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);  // fails only for invalid arguments
}

Kernel::Kernel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Kernel::~Kernel() = default;

Result<std::unique_ptr<Kernel>> Kernel::open() {
  auto requests = NetlinkRequests::open();
  if (!requests) {
    return requests.error();
  }
  auto events = NetlinkEvents::open(kGroups);
  if (!events) {
    return events.error();
  }
  OwnedFd epoll(epoll_create1(EPOLL_CLOEXEC));
  OwnedFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (epoll.get() < 0 || timer.get() < 0) {
    return descriptor_error("cannot create a timer");
  }
  auto impl = std::make_unique<Impl>(*std::move(requests), *std::move(events), std::move(epoll), std::move(timer));
  if (auto started = impl->start(); !started) {
    return started.error();
  }
  return std::unique_ptr<Kernel>(new Kernel(std::move(impl)));
}

int Kernel::fd() const { return impl_->fd(); }
KernelEvents Kernel::poll() { return impl_->poll(); }

Result<LinkState> Kernel::link(const std::string& interface) {
  auto link = query_link(impl_->requests(), interface);
  if (!link) {
    return link.error();
  }
  if (!*link) {
    return Error{"no such interface", interface, "see `ip link`; check the configuration's devices"};
  }
  return (*link)->state;
}

Result<LocalDevice> Kernel::make_local_device(const LocalDeviceOptions& options) {
  return isthmus::make_local_device(impl_->requests(), options);
}

Status Kernel::remove_local_device(const LocalDeviceOptions& options) {
  return isthmus::remove_local_device(impl_->requests(), options);
}

Status Kernel::remove_twin(const std::string& interface) { return isthmus::remove_twin(impl_->requests(), interface); }

std::vector<Error> Kernel::forwarding_problems(const std::string& local_device) const {
  return isthmus::forwarding_problems(local_device);
}

Result<bool> Kernel::loosen_reverse_path(const std::string& interface) {
  return isthmus::loosen_reverse_path(interface);
}

Status Kernel::set_closed_routes(std::span<const std::string> interfaces, std::span<const Prefix> sources,
                                 std::span<const Prefix> destinations) {
  return isthmus::set_closed_routes(impl_->requests(), interfaces, sources, destinations);
}

Status Kernel::change_closed_routes(std::span<const std::string> interfaces, std::span<const Prefix> sources,
                                    std::span<const Prefix> added, std::span<const Prefix> removed) {
  return isthmus::change_closed_routes(impl_->requests(), interfaces, sources, added, removed);
}

Status Kernel::remove_closed_routes() {
  Status removed = remove_blackholes(impl_->requests());
  Status opened = set_closed_routes({}, {}, {});
  return removed ? opened : removed;
}

Result<RouteReport> Kernel::set_routes(const std::string& interface, std::span<const Prefix> prefixes,
                                       const RouteOptions& options) {
  const auto device = link(interface);
  if (!device) {
    return device.error();
  }
  return set_device_routes(impl_->requests(), *device, prefixes, options);
}

Result<bool> Kernel::change_routes(const std::string& interface, std::span<const Prefix> added,
                                   std::span<const Prefix> removed, const RouteOptions& options) {
  const auto device = link(interface);
  if (!device) {
    return device.error();
  }
  return change_device_routes(impl_->requests(), *device, added, removed, options);
}

Result<std::vector<Error>> Kernel::take_over_addresses(const std::string& nic, const std::string& twin) {
  auto taken = isthmus::take_over_addresses(impl_->requests(), nic, twin);
  if (!taken) {
    return taken.error();
  }
  impl_->noted().insert_or_assign(twin, std::move(taken->state));
  return std::move(taken->problems);
}

Status Kernel::give_back_addresses(const std::string& twin) {
  Status given = isthmus::give_back_addresses(impl_->requests(), twin);
  if (given) {
    impl_->noted().erase(twin);
  }
  return given;
}

Status Kernel::note_addresses(const std::string& twin) {
  const auto noted = impl_->noted().find(twin);
  if (noted == impl_->noted().end()) {
    return Ok{};
  }
  auto state = read_twin(impl_->requests(), twin);
  if (!state) {
    return state.error();
  }
  noted->second = *std::move(state);
  return Ok{};
}

Status Kernel::put_noted_addresses(const std::string& twin) {
  const auto noted = impl_->noted().find(twin);
  return noted == impl_->noted().end() ? Status(Ok{}) : put_at_new_twin(impl_->requests(), noted->second, twin);
}

Result<std::vector<StandingTwin>> Kernel::standing_twins() { return isthmus::standing_twins(impl_->requests()); }

Result<NextHop> Kernel::next_hop(const IpAddress& address) {
  impl_->process_notifications();
  auto hop = query_next_hop(impl_->requests(), impl_->links(), address);
  impl_->arm();
  return hop;
}

Result<std::vector<KernelRoute>> Kernel::local_routes(std::span<const Prefix> prefixes) {
  impl_->process_notifications();
  auto routes = query_local_routes(impl_->requests(), impl_->links(), prefixes);
  impl_->arm();
  return routes;
}

Result<std::vector<NodeAddress>> Kernel::node_addresses() {
  impl_->process_notifications();
  auto addresses = query_node_addresses(impl_->requests(), impl_->links());
  impl_->arm();
  return addresses;
}

void Kernel::watch_neighbour(const std::string& interface, const IpAddress& address) {
  impl_->process_notifications();
  impl_->neighbours().watch(interface, address, Clock::now());
  impl_->arm();
}

void Kernel::unwatch_neighbour(const std::string& interface, const IpAddress& address) {
  impl_->neighbours().unwatch(interface, address);
  impl_->arm();
}

std::optional<MacAddress> Kernel::neighbour(const std::string& interface, const IpAddress& address) const {
  return impl_->neighbours().mac(interface, address);
}

}  // namespace isthmus
