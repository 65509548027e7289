// What a running engine hands to its successor: the sockets with their rings as they are, the memory that frames lie
// in, and the connection table's file with its lock.
//
// The predecessor describes it between two bursts, while its workers stand, and keeps its own descriptors of all of it:
// until the successor says that it has taken it, the predecessor may go on as if nothing had been asked. From then on
// rings, frames and table are the successor's alone. Ring positions are not described: they are in the rings. Chunks
// are: those that a driver is sending are in no ring. Owner: whoever holds the value; descriptors are closed with it.
// Thread: control.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/io/unique_fd.h"

namespace isthmus {

// An AF_XDP socket.
struct HandedSocket {
  UniqueFd fd;
  int interface_index = 0;
  std::uint32_t queue = 0;
  std::uint32_t ring_entries = 0;
  bool transmits = false;             // has a tx ring
  bool long_frames = false;           // has frames in several descriptors
  std::uint32_t filled = 0;           // chunks that the kernel has for receiving, and those received and not read
  std::uint32_t outstanding = 0;      // chunks, and parts of long ones, sent and not completed
  std::vector<std::uint32_t> chunks;  // of the two, in no order
};

// What one worker has of one device.
struct HandedQueue {
  std::vector<HandedSocket> sockets;
};

struct HandedWorker {
  UniqueFd memory;  // of its FramePool
  std::uint32_t chunks = 0;
  std::uint32_t chunk_bytes = 0;
  std::uint32_t long_chunks = 0;
  std::vector<HandedQueue> queues;  // by device
};

struct HandedEngine {
  UniqueFd table;  // locked
  std::vector<HandedWorker> workers;
};

}  // namespace isthmus
