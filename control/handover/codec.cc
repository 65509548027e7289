#include "control/handover/codec.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace isthmus {
namespace {

constexpr std::uint32_t kMagic = 0x69736875;
constexpr std::size_t kMaxWords = std::size_t{64} << 20;
constexpr std::uint32_t kMaxList = 1 << 16;  // workers, devices, sockets

class Writer {
 public:
  void word(std::uint32_t value) { words_.push_back(value); }
  void descriptor(const UniqueFd& fd) { descriptors_.push_back(fd.get()); }
  [[nodiscard]] const std::vector<std::uint32_t>& words() const { return words_; }
  [[nodiscard]] const std::vector<int>& descriptors() const { return descriptors_; }

 private:
  std::vector<std::uint32_t> words_;
  std::vector<int> descriptors_;
};

// After the first thing that is missing, everything is.
class Reader {
 public:
  Reader(std::vector<std::uint32_t> words, std::vector<UniqueFd> descriptors)
      : words_(std::move(words)), descriptors_(std::move(descriptors)) {}
  std::uint32_t word() {
    ok_ = ok_ && at_ < words_.size();
    return ok_ ? words_[at_++] : 0;
  }
  // Of a list, of whose parts each takes a word or more.
  std::uint32_t length(std::uint32_t most = kMaxList) {
    const std::uint32_t value = word();
    ok_ = ok_ && value <= most && value <= words_.size() - at_;
    return ok_ ? value : 0;
  }
  UniqueFd descriptor() {
    ok_ = ok_ && next_ < descriptors_.size() && descriptors_[next_].valid();
    return ok_ ? std::move(descriptors_[next_++]) : UniqueFd();
  }
  [[nodiscard]] bool complete() const { return ok_ && at_ == words_.size() && next_ == descriptors_.size(); }

 private:
  std::vector<std::uint32_t> words_;
  std::vector<UniqueFd> descriptors_;
  std::size_t at_ = 0, next_ = 0;
  bool ok_ = true;
};

void write_socket(const HandedSocket& socket, Writer& to) {
  to.descriptor(socket.fd);
  for (const std::uint32_t value :
       {static_cast<std::uint32_t>(socket.interface_index), socket.queue, socket.ring_entries,
        std::uint32_t{socket.transmits}, std::uint32_t{socket.long_frames}, socket.filled, socket.outstanding,
        static_cast<std::uint32_t>(socket.chunks.size())}) {
    to.word(value);
  }
  std::for_each(socket.chunks.begin(), socket.chunks.end(), [&](std::uint32_t chunk) { to.word(chunk); });
}

HandedSocket read_socket(Reader& from) {
  HandedSocket socket;
  socket.fd = from.descriptor();
  socket.interface_index = static_cast<int>(from.word());
  socket.queue = from.word();
  socket.ring_entries = from.word();
  socket.transmits = from.word() != 0;
  socket.long_frames = from.word() != 0;
  socket.filled = from.word();
  socket.outstanding = from.word();
  socket.chunks.resize(from.length(0xffffffff));
  for (std::uint32_t& chunk : socket.chunks) {
    chunk = from.word();
  }
  return socket;
}

void write_engine(const HandedEngine& engine, Writer& to) {
  to.word(kMagic);
  to.word(kHandOverVersion);
  to.descriptor(engine.table);
  to.word(static_cast<std::uint32_t>(engine.workers.size()));
  for (const HandedWorker& worker : engine.workers) {
    to.descriptor(worker.memory);
    to.word(worker.chunks);
    to.word(worker.chunk_bytes);
    to.word(worker.long_chunks);
    to.word(static_cast<std::uint32_t>(worker.queues.size()));
    for (const HandedQueue& queue : worker.queues) {
      to.word(static_cast<std::uint32_t>(queue.sockets.size()));
      std::for_each(queue.sockets.begin(), queue.sockets.end(),
                    [&](const HandedSocket& socket) { write_socket(socket, to); });
    }
  }
}

HandedEngine read_engine(Reader& from) {
  HandedEngine engine;
  engine.table = from.descriptor();
  engine.workers.resize(from.length());
  for (HandedWorker& worker : engine.workers) {
    worker.memory = from.descriptor();
    worker.chunks = from.word();
    worker.chunk_bytes = from.word();
    worker.long_chunks = from.word();
    worker.queues.resize(from.length());
    for (HandedQueue& queue : worker.queues) {
      queue.sockets.resize(from.length());
      for (HandedSocket& socket : queue.sockets) {
        socket = read_socket(from);
      }
    }
  }
  return engine;
}

Error invalid(const char* what) {
  return Error{std::string("what was handed over is not valid: ") + what, "hand-over"};
}

Result<std::vector<std::uint32_t>> words_of(const UniqueFd& file) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || info.st_size < 8 || info.st_size % 4 != 0 ||
      static_cast<std::size_t>(info.st_size) > kMaxWords * 4) {
    return invalid("the size of its description");
  }
  std::vector<std::uint32_t> words(static_cast<std::size_t>(info.st_size) / 4);
  std::size_t done = 0;
  while (done < words.size() * 4) {
    const ssize_t got = ::pread(file.get(), reinterpret_cast<char*>(words.data()) + done, words.size() * 4 - done,
                                static_cast<off_t>(done));
    if (got <= 0) {
      return invalid("its description cannot be read");
    }
    done += static_cast<std::size_t>(got);
  }
  return words;
}

Result<UniqueFd> file_of(const std::vector<std::uint32_t>& words) {
  UniqueFd file(::memfd_create("isthmus-hand-over", MFD_CLOEXEC));
  const char* bytes = reinterpret_cast<const char*>(words.data());
  for (std::size_t done = 0, size = words.size() * 4; done < size;) {
    const ssize_t written = ::write(file.get(), bytes + done, size - done);
    if (written <= 0) {
      return Error{std::string("cannot write what is handed over: ") + std::strerror(errno), "hand-over", "add memory"};
    }
    done += static_cast<std::size_t>(written);
  }
  return file;
}

}  // namespace

Status send_engine(HandOverChannel& channel, const HandedEngine& engine) {
  Writer writer;
  write_engine(engine, writer);
  const auto file = file_of(writer.words());
  if (!file) {
    return file.error();
  }
  std::vector<int> all{file->get()};
  all.insert(all.end(), writer.descriptors().begin(), writer.descriptors().end());
  if (std::find(all.begin(), all.end(), -1) != all.end()) {
    return Error{"too many open files to hand over", "hand-over", "raise the process's limit (LimitNOFILE)"};
  }
  for (std::size_t at = 0; at < all.size(); at += HandOverChannel::kMaxDescriptors) {
    const auto end = std::min(all.size(), at + HandOverChannel::kMaxDescriptors);
    const std::vector<int> part(all.begin() + static_cast<std::ptrdiff_t>(at),
                                all.begin() + static_cast<std::ptrdiff_t>(end));
    if (!channel.send(at == 0 ? HandOverKind::kState : HandOverKind::kMore, std::to_string(all.size()), part)) {
      return Error{"the successor has gone", "hand-over"};
    }
  }
  return Ok{};
}

Result<HandedEngine> receive_engine(HandOverChannel& channel, HandOverMessage first,
                                    HandOverChannel::Clock::time_point until) {
  std::vector<UniqueFd> descriptors = std::move(first.descriptors);
  while (std::to_string(descriptors.size()) != first.text) {
    auto more = channel.receive(until);
    if (!more || more->kind != HandOverKind::kMore || more->descriptors.empty()) {
      return invalid("descriptors are missing");
    }
    std::move(more->descriptors.begin(), more->descriptors.end(), std::back_inserter(descriptors));
  }
  if (descriptors.empty()) {
    return invalid("there is no description");
  }
  auto words = words_of(descriptors.front());
  if (!words) {
    return words.error();
  }
  descriptors.erase(descriptors.begin());
  Reader reader(*std::move(words), std::move(descriptors));
  if (reader.word() != kMagic || reader.word() != kHandOverVersion) {
    return invalid("it is of another version");
  }
  HandedEngine engine = read_engine(reader);
  return reader.complete() ? Result<HandedEngine>(std::move(engine)) : invalid("it is not complete");
}

}  // namespace isthmus
