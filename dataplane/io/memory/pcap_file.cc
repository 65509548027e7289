#include "dataplane/io/memory/pcap_file.h"

#include <pcap/pcap.h>
#include <sys/time.h>

#include <memory>

namespace isthmus {
namespace {

constexpr int kSnapLength = 65535;

struct PcapCloser {
  void operator()(pcap_t* handle) const noexcept { pcap_close(handle); }
};
using PcapHandle = std::unique_ptr<pcap_t, PcapCloser>;

}  // namespace

Result<std::vector<FrameBytes>> read_pcap(const std::string& path, std::size_t max_bytes) {
  char message[PCAP_ERRBUF_SIZE] = "";
  const PcapHandle handle(pcap_open_offline(path.c_str(), message));
  if (!handle) {
    return Error{message, path, "give a readable pcap or pcapng file"};
  }
  if (pcap_datalink(handle.get()) != DLT_EN10MB) {
    return Error{"the capture does not contain Ethernet frames", path, "capture on an Ethernet interface"};
  }
  std::vector<FrameBytes> frames;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  int got = 0;
  while ((got = pcap_next_ex(handle.get(), &header, &bytes)) == 1) {
    const std::string where = path + ": frame " + std::to_string(frames.size() + 1);
    if (header->caplen != header->len) {
      return Error{"the frame is truncated", where, "capture with an unlimited snap length"};
    }
    if (header->caplen > max_bytes) {
      return Error{std::to_string(header->caplen) + " bytes; a frame holds at most " + std::to_string(max_bytes), where,
                   "capture with segmentation offload switched off"};
    }
    frames.emplace_back(bytes, bytes + header->caplen);
  }
  if (got == PCAP_ERROR) {
    return Error{pcap_geterr(handle.get()), path, "the file is damaged; capture again"};
  }
  return frames;
}

Result<std::unique_ptr<PcapWriter>> PcapWriter::create(const std::string& path) {
  std::unique_ptr<PcapWriter> writer(new PcapWriter);
  writer->handle_ = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, kSnapLength, PCAP_TSTAMP_PRECISION_MICRO);
  if (writer->handle_ == nullptr) {
    return Error{"libpcap is out of memory", path};
  }
  writer->dumper_ = pcap_dump_open(writer->handle_, path.c_str());
  if (writer->dumper_ == nullptr) {
    return Error{pcap_geterr(writer->handle_), path, "give a writable path"};
  }
  return writer;
}

PcapWriter::~PcapWriter() {
  if (dumper_ != nullptr) {
    pcap_dump_close(dumper_);
  }
  if (handle_ != nullptr) {
    pcap_close(handle_);
  }
}

void PcapWriter::write(std::span<const std::uint8_t> frame) noexcept {
  pcap_pkthdr header{};
  gettimeofday(&header.ts, nullptr);
  header.caplen = header.len = static_cast<bpf_u_int32>(frame.size());
  const std::lock_guard lock(mutex_);
  pcap_dump(reinterpret_cast<u_char*>(dumper_), &header, frame.data());
}

void PcapWriter::flush() noexcept {
  const std::lock_guard lock(mutex_);
  static_cast<void>(pcap_dump_flush(dumper_));
}

}  // namespace isthmus
