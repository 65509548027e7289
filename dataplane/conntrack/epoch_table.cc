#include "dataplane/conntrack/epoch_table.h"

#include "dataplane/packet/flow_key.h"

namespace isthmus {

EpochIndex EpochTable::of_number(std::uint64_t kind, std::uint64_t number, std::size_t first,
                                 std::size_t end) noexcept {
  const std::uint64_t mixed = flow_hash::mix(number ^ 0x9e3779b97f4a7c15ULL, (kind << 56) ^ 0xd6e8feb86659fd93ULL);
  const std::uint64_t even = flow_hash::mix(mixed, 0xa0761d6478bd642fULL) & 0xffffffff;
  return static_cast<EpochIndex>(first + ((even * (end - first)) >> 32));
}

}  // namespace isthmus
