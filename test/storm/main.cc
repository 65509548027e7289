// path-storm: drives mutated frames through the whole packet path, in every variant of configuration, and checks that
// none is lost or counted twice, that no frame buffer gets lost, and that nothing leaves but well-formed packets to
// known ends.
//   path-storm [PACKETS [SEED]]    one million packets by default, divided among the variants
#include <cstdio>
#include <cstdlib>

#include "test/storm/storm_gateway.h"

int main(int argc, char** argv) {
  using namespace isthmus;
  using namespace isthmus::storm;
  const std::uint64_t packets = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  if (packets == 0 || argc > 3) {
    std::fprintf(stderr, "usage: %s [PACKETS [SEED]]\n", argv[0]);
    return 2;
  }
  std::uint64_t variants = 0;
  constexpr std::uint64_t kVariants = 8;
  for (const EncapsulationKind kind : {EncapsulationKind::kVxlan, EncapsulationKind::kGeneve}) {
    for (const Family underlay : {Family::kIpv4, Family::kIpv6}) {
      for (const MidstreamPolicy midstream : {MidstreamPolicy::kLoose, MidstreamPolicy::kDrop}) {
        const Variant variant{kind, underlay, midstream};
        StormGateway gateway(variant, seed + ++variants * 1000);
        const std::string wrong = gateway.run(packets / kVariants + 1);
        const EngineCounters c = gateway.counters();
        std::printf("%s: %llu packets, %llu sent, %llu connections\n", variant.text().c_str(),
                    static_cast<unsigned long long>(c.rx_packets), static_cast<unsigned long long>(c.tx_packets),
                    static_cast<unsigned long long>(c.connections.created));
        if (!wrong.empty()) {
          std::printf("  seed %llu: %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
          return 1;
        }
      }
    }
  }
}
