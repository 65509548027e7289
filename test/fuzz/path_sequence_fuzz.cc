// Drives the whole path with sequences that a fleet could produce, and worse: packets that open, continue and end flows
// over every kind of tunnel, whole or damaged, ICMP errors about them, and changes of the fleet in between. Nothing may
// crash, and what test/fuzz/sequence/ledger.h and traffic.h name must hold. The input is a string of bytes that are
// read one by one: the first chooses the gateway, the rest are actions; a sequence ends with it.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "test/fuzz/sequence/traffic.h"
#include "test/support/boot_clock.h"

namespace isthmus::test {
namespace {

// Made anew after so many inputs, so that its clock does not wrap.
constexpr unsigned kInputsPerFleet = 500;

struct Gateway {
  std::unique_ptr<Fleet> fleet;
  Nanoseconds clock;  // where its time stands
  unsigned inputs = 0;
};

Fleet& restored(Gateway& gateway, unsigned variant) {
  if (gateway.inputs++ % kInputsPerFleet == 0) {
    gateway.fleet = std::make_unique<Fleet>(variant);
  } else {
    set_boot_clock(gateway.clock);
    gateway.fleet->restore();
  }
  return *gateway.fleet;
}

}  // namespace
}  // namespace isthmus::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isthmus::test;
  static std::array<Gateway, Fleet::kVariants> gateways;
  Input in(data, size);
  const unsigned variant = in.below(Fleet::kVariants);
  Gateway& gateway = gateways[variant];
  Traffic(restored(gateway, variant)).run(in);
  gateway.clock = boot_clock();
  return 0;
}
