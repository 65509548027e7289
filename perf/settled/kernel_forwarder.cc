#include "perf/settled/kernel_forwarder.h"

#include <limits>

#include "perf/io/rig.h"
#include "perf/settled/records.h"

namespace isthmus::perf {

Result<std::unique_ptr<KernelForwarder>> KernelForwarder::open(Work work, std::uint32_t flows) {
  auto forwarder = std::make_unique<KernelForwarder>();
  auto maps = KernelFlows::create(2 * flows);
  if (!maps) {
    return maps.error();
  }
  forwarder->maps_ = *std::move(maps);
  const SettledRecords records = settled_records(work, flows);
  write_settled_references(*forwarder->maps_, records.flows);
  if (forwarder->maps_->insert(records.keys, records.flows) != records.keys.size()) {
    return Error{"the flow map takes no more than some of the flows", "perf/settled"};
  }
  const SettledEnds& ends = settled_ends();
  if (Status s = forwarder->attach(forwarder->underlay_, kInterfaceOut, ends.underlay, kUnderlayNumber); !s) {
    return s.error();
  }
  if (Status s = forwarder->attach(forwarder->local_, kInterfaceIn, ends.local, kLocalNumber); !s) {
    return s.error();
  }
  return forwarder;
}

Status KernelForwarder::attach(std::unique_ptr<SteerProgram>& leg, const char* interface, const MacAddress& mac,
                               std::uint32_t number) {
  SteerProgram::Settings settings;
  settings.kernel_flows = maps_.get();
  settings.mac = mac;
  auto loaded = SteerProgram::load(settings);
  auto found = find_interface(interface);
  if (!loaded || !found) {
    return !loaded ? loaded.error() : found.error();
  }
  leg = *std::move(loaded);
  SteerRules rules;
  rules.tunnel = tunnel_end(settled_ends().our_tunnel);
  if (Status attached = leg->attach(*found, XdpMode::kNative); !attached) {
    return attached;
  }
  if (Status applied = leg->apply(rules); !applied) {
    return applied;
  }
  leg->heartbeats()[0].nanoseconds =
      std::numeric_limits<std::int64_t>::max() & ~ISTHMUS_NOT_POLLED;  // as if polled for ever
  if (Status joined = leg->join(number == kUnderlayNumber, Realm{}); !joined) {
    return joined;
  }
  return maps_->set_device(number, found->index);
}

std::uint64_t KernelForwarder::forwarded() const {
  std::uint64_t sum = 0;
  for (const isthmus_lease& lease : maps_->leases()) {
    sum += lease.packets;
  }
  return sum;
}

}  // namespace isthmus::perf
