// A socket that goes from one process to another.
#include <algorithm>
#include <utility>

#include "dataplane/io/af_xdp/xsk_socket.h"

namespace isthmus {

Status XskSocket::adopt(HandedSocket handed) {
  const auto invalid = [&](const char* what) {
    return Error{std::string("the socket that was handed over ") + what,
                 settings_.interface + " queue " + std::to_string(settings_.queue), ""};
  };
  if (handed.interface_index != settings_.interface_index || handed.queue != settings_.queue ||
      handed.ring_entries != settings_.ring_entries || handed.transmits != settings_.transmits) {
    return invalid("is of another queue, or has other rings");
  }
  if (handed.filled > settings_.ring_entries + settings_.fill_target ||
      std::uint64_t{handed.filled} + handed.outstanding != handed.chunks.size()) {
    return invalid("has more frames than it can have");
  }
  fd_ = std::move(handed.fd);
  if (Status mapped = map_rings(); !mapped) {
    drop();
    return mapped;
  }
  for (const std::uint32_t chunk : handed.chunks) {
    if (chunk >= retained_.size() || retained_[chunk] != 0) {
      drop();
      return invalid("names a frame that there is not, or names it twice");
    }
    retain(chunk);
  }
  for (std::uint32_t chunk = pool_.chunks(); chunk < pool_.numbers(); chunk += kChunksOfLong) {
    const auto parts = retained_.begin() + chunk;
    long_outstanding_ += std::any_of(parts, parts + kChunksOfLong, [](std::uint8_t each) { return each != 0; }) ? 1 : 0;
  }
  long_frames_ = handed.long_frames;
  filled_ = handed.filled;
  outstanding_ = handed.outstanding;
  before_ = all_counters();
  read_mode();
  return Ok{};
}

HandedSocket XskSocket::describe() const {
  HandedSocket handed;
  handed.fd = UniqueFd::duplicate(fd_.get());
  handed.interface_index = settings_.interface_index;
  handed.queue = settings_.queue;
  handed.ring_entries = settings_.ring_entries;
  handed.transmits = settings_.transmits;
  handed.long_frames = long_frames_;
  handed.filled = filled_;
  handed.outstanding = outstanding_;
  for (std::uint32_t chunk = 0; chunk < retained_.size(); ++chunk) {
    if (retained_[chunk] != 0) {
      handed.chunks.push_back(chunk);
    }
  }
  return handed;
}

}  // namespace isthmus
