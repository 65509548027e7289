// Reads and writes capture files with libpcap. Reading: control thread. Writing: any worker, one frame at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/result.h"

struct pcap;
struct pcap_dumper;

namespace isthmus {

using FrameBytes = std::vector<std::uint8_t>;

// All frames of an Ethernet capture (pcap or pcapng), in file order. Frames truncated by the capture, and frames longer
// than `max_bytes`, are errors: replaying parts of packets would prove nothing.
[[nodiscard]] Result<std::vector<FrameBytes>> read_pcap(const std::string& path, std::size_t max_bytes);

class PcapWriter {
 public:
  [[nodiscard]] static Result<std::unique_ptr<PcapWriter>> create(const std::string& path);
  ~PcapWriter();
  PcapWriter(const PcapWriter&) = delete;
  PcapWriter& operator=(const PcapWriter&) = delete;

  // Timestamped with the time of the call. Workers share one file, hence the lock: this device is for replay, not for
  // speed.
  void write(std::span<const std::uint8_t> frame) noexcept;
  // Flushes everything written so far to the file.
  void flush() noexcept;

 private:
  PcapWriter() = default;
  std::mutex mutex_;
  pcap* handle_ = nullptr;
  pcap_dumper* dumper_ = nullptr;
};

}  // namespace isthmus
