// A gateway with two storm devices and the tables of a small fleet, in one of several variants of configuration.
#pragma once

#include <memory>
#include <string>

#include "dataplane/api/engine.h"
#include "test/storm/storm_device.h"

namespace isthmus::storm {

struct Variant {
  EncapsulationKind kind = EncapsulationKind::kVxlan;
  Family underlay = Family::kIpv4;
  MidstreamPolicy midstream = MidstreamPolicy::kLoose;
  [[nodiscard]] std::string text() const;
};

class StormGateway {
 public:
  StormGateway(const Variant& variant, std::uint64_t seed);

  // Runs rounds until `packets` have been received, with a change of the tables now and then. Returns what went wrong;
  // empty: nothing.
  [[nodiscard]] std::string run(std::uint64_t packets);
  [[nodiscard]] std::uint64_t received() const noexcept { return underlay_->received() + local_->received(); }
  [[nodiscard]] EngineCounters counters() const { return engine_->counters(); }

 private:
  StormDevice* add(StormDevice::Options options);
  void publish_fleet();
  void set_west_gateways(std::vector<PeerId> gateways);
  void set_backend(bool west);
  void change(std::uint64_t step);
  // Every frame received has been sent, dropped or consumed, and no frame buffer is missing.
  [[nodiscard]] std::string check_balance();

  Variant variant_;
  std::unique_ptr<Engine> engine_;
  StormDevice* underlay_ = nullptr;
  StormDevice* local_ = nullptr;
  AdjacencyId underlay_hop_, local_hop_;
  std::uint64_t probe_answers_ = 0;
};

}  // namespace isthmus::storm
