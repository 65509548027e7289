#include "control/kernel/neighbour_watch.h"

#include <linux/neighbour.h>

#include <algorithm>

namespace isthmus {
namespace {

using std::chrono::seconds;

constexpr std::uint16_t kUsable = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
constexpr std::uint16_t kFresh = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE;
// An unresolved neighbour: the kernel gives up after some 3 s, then we retry.
constexpr seconds kMinBackoff{1}, kMaxBackoff{10};
// A stale one: the kernel waits 5 s for other proof of reachability, then probes by itself; the MAC stays usable.
constexpr seconds kStaleInterval{5};

struct Neighbour {
  int interface_index = 0;
  std::uint16_t state = 0;
  std::optional<IpAddress> address;
  std::optional<MacAddress> mac;
};

Neighbour parse_neighbour(const nlmsghdr* message) {
  const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  Neighbour neighbour;
  if (header->ndm_family != AF_INET && header->ndm_family != AF_INET6) {
    return neighbour;  // a bridge's forwarding entry
  }
  const NetlinkAttributes attributes(message, sizeof(*header));
  neighbour.interface_index = header->ndm_ifindex;
  neighbour.address = attributes.address(NDA_DST);
  neighbour.mac = attributes.mac(NDA_LLADDR);
  neighbour.state = message->nlmsg_type == RTM_DELNEIGH ? std::uint16_t{NUD_NONE} : header->ndm_state;
  return neighbour;
}

unsigned char family_of(const IpAddress& address) {
  return static_cast<unsigned char>(address.is_ipv4() ? AF_INET : AF_INET6);
}

}  // namespace

void NeighbourWatch::watch(const std::string& interface, const IpAddress& address, Time now) {
  const Key key(interface, address);
  const auto [at, inserted] = entries_.try_emplace(key);
  Entry& entry = at->second;
  if (!inserted) {
    if (!entry.mac) {
      set_due(key, entry, std::min(entry.due, std::max(now, entry.probed + kMinBackoff)));
    }
    return;
  }
  entry.probed = now - kMinBackoff;
  dirty_.insert(key);
  if (const LinkState* link = links_.by_name(interface); link != nullptr) {
    read_state(key, entry, link->index, now);
  } else {
    update(key, entry, NUD_NONE, std::nullopt, now);
  }
}

void NeighbourWatch::unwatch(const std::string& interface, const IpAddress& address) {
  const Key key(interface, address);
  if (const auto at = entries_.find(key); at != entries_.end()) {
    set_due(key, at->second, Time::max());
    entries_.erase(at);
    dirty_.erase(key);
  }
}

std::optional<MacAddress> NeighbourWatch::mac(const std::string& interface, const IpAddress& address) const {
  const auto at = entries_.find(Key(interface, address));
  return at == entries_.end() ? std::nullopt : at->second.mac;
}

void NeighbourWatch::apply(const nlmsghdr* message, Time now) {
  const Neighbour neighbour = parse_neighbour(message);
  const LinkState* link = links_.by_index(neighbour.interface_index);
  if (!neighbour.address || link == nullptr) {
    return;
  }
  const auto at = entries_.find(Key(link->interface, *neighbour.address));
  if (at != entries_.end()) {
    update(at->first, at->second, neighbour.state, neighbour.mac, now);
  }
}

void NeighbourWatch::link_changed(const LinkState& link, Time now) {
  for (auto at = entries_.lower_bound(Key(link.interface, IpAddress{}));
       at != entries_.end() && at->first.first == link.interface; ++at) {
    if (link.removed || !link.up) {
      update(at->first, at->second, NUD_NONE, std::nullopt, now);
    } else if (!at->second.mac) {
      at->second.backoff = kMinBackoff;
      set_due(at->first, at->second, now);
    }
  }
}

void NeighbourWatch::reload(Time now) {
  for (auto& [key, entry] : entries_) {
    const LinkState* link = links_.by_name(key.first);
    if (link != nullptr) {
      read_state(key, entry, link->index, now);
    } else {
      update(key, entry, NUD_NONE, std::nullopt, now);
    }
  }
}

void NeighbourWatch::read_state(const Key& key, Entry& entry, int interface_index, Time now) {
  NetlinkMessage message(RTM_GETNEIGH, 0);
  auto& header = message.header<ndmsg>();
  header.ndm_family = family_of(key.second);
  header.ndm_ifindex = interface_index;
  message.put(NDA_DST, key.second);
  Neighbour neighbour;
  // A failure means that there is no such entry: unresolved.
  const auto failed =
      requests_.get(message, [&neighbour](const nlmsghdr* reply) { neighbour = parse_neighbour(reply); });
  if (failed) {
    neighbour = {};
  }
  update(key, entry, neighbour.state, neighbour.mac, now);
}

void NeighbourWatch::update(const Key& key, Entry& entry, std::uint16_t state, std::optional<MacAddress> lladdr,
                            Time now) {
  const auto mac = (state & kUsable) != 0 ? lladdr : std::nullopt;
  const bool lost = entry.mac && !mac;
  entry.mac = mac;
  if (entry.was_reported && entry.reported == mac) {
    dirty_.erase(key);
  } else {
    dirty_.insert(key);
  }
  entry.fresh = mac && (state & kFresh) != 0;
  if (entry.fresh) {
    entry.backoff = kMinBackoff;
    set_due(key, entry, Time::max());
  } else if (mac) {
    set_due(key, entry, std::max(now, entry.probed + kStaleInterval));
  } else if (lost) {
    entry.backoff = kMinBackoff;
    set_due(key, entry, now);
  } else {
    set_due(key, entry, std::min(entry.due, std::max(now, entry.probed + entry.backoff)));
  }
}

void NeighbourWatch::set_due(const Key& key, Entry& entry, Time due) {
  if (entry.due != due) {
    schedule_.erase({entry.due, key});
    entry.due = due;
    if (due != Time::max()) {
      schedule_.insert({due, key});
    }
  }
}

void NeighbourWatch::maintain(Time now) {
  while (!schedule_.empty() && schedule_.begin()->first <= now) {
    const Key key = schedule_.begin()->second;
    Entry& entry = entries_.at(key);
    solicit(key);
    entry.probed = now;
    set_due(key, entry, now + (entry.mac ? kStaleInterval : entry.backoff));
    if (!entry.mac) {
      entry.backoff = std::min(entry.backoff * 2, kMaxBackoff);
    }
  }
}

void NeighbourWatch::solicit(const Key& key) {
  const LinkState* link = links_.by_name(key.first);
  if (link == nullptr || !link->up) {
    return;  // link_changed() reschedules it
  }
  NetlinkMessage message(RTM_NEWNEIGH, NLM_F_CREATE);
  auto& header = message.header<ndmsg>();
  header.ndm_family = family_of(key.second);
  header.ndm_ifindex = link->index;
  header.ndm_state = NUD_NONE;
  header.ndm_flags = NTF_USE;
  message.put(NDA_DST, key.second);
  // A failure (the interface was just removed, the table is full) is retried later.
  static_cast<void>(requests_.apply(message));
}

NeighbourWatch::Time NeighbourWatch::next_due() const {
  return schedule_.empty() ? Time::max() : schedule_.begin()->first;
}

std::vector<NeighbourChange> NeighbourWatch::take_changes() {
  std::vector<NeighbourChange> changes;
  changes.reserve(dirty_.size());
  for (const Key& key : dirty_) {
    Entry& entry = entries_.at(key);
    entry.was_reported = true;
    entry.reported = entry.mac;
    changes.push_back({key.first, key.second, entry.mac});
  }
  dirty_.clear();
  return changes;
}

}  // namespace isthmus
