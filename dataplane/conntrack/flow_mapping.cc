#include "dataplane/conntrack/flow_mapping.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "dataplane/conntrack/state_file.h"
#include "dataplane/packet/flow_key.h"

namespace isthmus {

// At the start of the mapping. Written once, the magic number last; only `process` and `last_used` change afterwards.
struct FlowMapping::Header {
  std::uint64_t created = 0;  // CLOCK_BOOTTIME in seconds at which the table's clock is 0
  std::array<char, 40> boot_id{};
  std::uint32_t layout_version = 0;
  std::uint32_t header_bytes = 0;
  std::uint32_t connection_bytes = 0;
  std::uint32_t block_bytes = 0;
  std::uint32_t epoch_words = 0;
  std::uint32_t connections = 0;
  std::uint32_t blocks = 0;
  std::uint32_t check = 0;    // checksum of everything above
  std::uint32_t process = 0;  // PID of the last process that opened it, for the error message
  std::atomic<std::uint32_t> last_used{0};
  std::atomic<std::uint64_t> magic{0};

  [[nodiscard]] std::uint32_t expected_check() const noexcept {
    std::uint64_t h = 1;
    for (std::size_t at = 0; at < offsetof(Header, check); at += sizeof(std::uint32_t)) {
      std::uint32_t word = 0;
      std::memcpy(&word, reinterpret_cast<const std::byte*>(this) + at, sizeof word);
      h = flow_hash::mix(h ^ word, 0x9e3779b97f4a7c15ULL);
    }
    return static_cast<std::uint32_t>(h ^ (h >> 32));
  }
};

struct FlowMapping::Layout {
  std::size_t epochs = 0, connections = 0, blocks = 0, forwarded = 0, end = 0;
};

namespace {

constexpr std::uint64_t kMagic = 0x736d68747369'0a01ULL;     // "isthms" and a byte that text conversion would change
constexpr std::uint32_t kLayoutVersion = 11;                 // incremented with any change of a record in the file
constexpr std::uint32_t kMaxUnusedSeconds = 30 * 24 * 3600;  // the clock in a direction line wraps after 194 days
constexpr std::size_t kPage = 4096;

constexpr std::size_t page_up(std::size_t n) { return (n + kPage - 1) / kPage * kPage; }

std::uint64_t boot_seconds() noexcept {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec);
}

// Identifies the boot: times of CLOCK_BOOTTIME are comparable between processes of one boot only.
std::array<char, 40> boot_id() noexcept {
  std::array<char, 40> id{};
  const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    if (read(file, id.data(), id.size() - 1) < 0) {
      id.fill(0);
    }
    close(file);
  }
  return id;
}

std::string differs(const char* what, std::uint32_t was, std::uint32_t is) {
  return std::string(what) + " was " + std::to_string(was) + ", is " + std::to_string(is);
}

Error file_error(const char* what, const std::string& path, std::string fix) {
  return Error{std::string(what) + ": " + std::strerror(errno), path, std::move(fix)};
}

}  // namespace

FlowMapping::Layout FlowMapping::layout_of(const Options& options) noexcept {
  static_assert(sizeof(Header) <= kPage);
  Layout l;
  l.epochs = kPage;
  l.connections = page_up(l.epochs + EpochTable::kWords * sizeof(EpochTable::Word));
  l.blocks = page_up(l.connections + options.connections * sizeof(Connection));
  l.forwarded = page_up(l.blocks + (std::size_t{options.blocks} + 1) * sizeof(DirectionBlock));
  l.end = page_up(l.forwarded + options.connections * sizeof(ForwardedCounts));
  return l;
}

std::size_t FlowMapping::bytes_for(std::uint32_t connections) noexcept {
  Options options;
  options.connections = connections;
  options.blocks = blocks_for(connections);
  return layout_of(options).end;
}

Result<FlowMapping> FlowMapping::open(const Options& options) {
  FlowMapping mapping;
  const Layout layout = layout_of(options);
  const Status opened = !options.keep_state ? mapping.open_private(options, layout)
                        : options.beside    ? mapping.open_beside(options, layout)
                                            : mapping.open_file(options, layout);
  if (!opened) {
    return opened.error();
  }
  mapping.huge_page_bytes_ = mapping.area_.huge_page_bytes();
  return mapping;
}

Status FlowMapping::open_private(const Options& options, const Layout& layout) {
  auto area = MemoryArea::anonymous(layout.end);
  if (!area) {
    return area.error();
  }
  area_ = std::move(*area);
  set_pointers(layout);
  write_header(options);
  start_ = StateStart::kNotKept;
  return Ok{};
}

FlowMapping::FlowMapping(FlowMapping&& other) noexcept
    : area_(std::move(other.area_)),
      file_(std::exchange(other.file_, -1)),
      start_(other.start_),
      start_reason_(std::move(other.start_reason_)),
      huge_page_bytes_(other.huge_page_bytes_),
      header_(other.header_),
      epochs_(other.epochs_),
      connections_(other.connections_),
      blocks_(other.blocks_),
      forwarded_(other.forwarded_) {}

FlowMapping::~FlowMapping() {
  if (file_ >= 0) {
    close(file_);  // releases the lock too
  }
}

Seconds FlowMapping::seconds_at(Nanoseconds boot_time) const noexcept {
  return Seconds{static_cast<std::uint32_t>(boot_time.value() / 1'000'000'000 - header_->created)};
}

void FlowMapping::record_use(Seconds now) noexcept {
  if (header_->last_used.load(std::memory_order_relaxed) != now.value()) {
    header_->last_used.store(now.value(), std::memory_order_relaxed);
  }
}

void FlowMapping::set_pointers(const Layout& layout) noexcept {
  std::byte* base = area_.data();
  header_ = reinterpret_cast<Header*>(base);
  epochs_ = reinterpret_cast<EpochTable::Word*>(base + layout.epochs);
  connections_ = reinterpret_cast<Connection*>(base + layout.connections);
  blocks_ = reinterpret_cast<DirectionBlock*>(base + layout.blocks);
  forwarded_ = reinterpret_cast<ForwardedCounts*>(base + layout.forwarded);
}

void FlowMapping::write_header(const Options& options) noexcept {
  Header& h = *header_;
  h.created = boot_seconds() - 1;  // the clock starts at 1
  h.boot_id = boot_id();
  h.layout_version = kLayoutVersion;
  h.header_bytes = sizeof(Header);
  h.connection_bytes = sizeof(Connection);
  h.block_bytes = sizeof(DirectionBlock);
  h.epoch_words = EpochTable::kWords;
  h.connections = options.connections;
  h.blocks = options.blocks;
  h.check = h.expected_check();
  h.process = static_cast<std::uint32_t>(getpid());
  h.last_used.store(1, std::memory_order_relaxed);
  h.magic.store(kMagic, std::memory_order_release);
}

// Why the file cannot be adopted; empty when it can. `area_` maps the whole file.
std::string FlowMapping::mismatch_reason(const Options& options) const {
  const Header& h = *header_;
  if (h.magic.load(std::memory_order_acquire) != kMagic) {
    return "not a connection table, or incomplete";
  }
  if (h.layout_version != kLayoutVersion) {
    return differs("layout version", h.layout_version, kLayoutVersion);
  }
  if (h.check != h.expected_check()) {
    return "damaged header";
  }
  if (h.header_bytes != sizeof(Header) || h.connection_bytes != sizeof(Connection) ||
      h.block_bytes != sizeof(DirectionBlock) || h.epoch_words != EpochTable::kWords) {
    return "record sizes differ";
  }
  if (h.connections != options.connections) {
    return differs("capacity", h.connections, options.connections);
  }
  if (h.blocks != options.blocks) {
    return differs("number of blocks", h.blocks, options.blocks);
  }
  if (h.boot_id != boot_id() || boot_seconds() < h.created) {
    return "written before the last boot";
  }
  const std::uint64_t age = boot_seconds() - h.created;
  const std::uint64_t last_used = h.last_used.load(std::memory_order_relaxed);
  if (age > last_used && age - last_used > kMaxUnusedSeconds) {
    return "unused for too long";
  }
  return {};
}

Status FlowMapping::open_file(const Options& options, const Layout& layout) {
  auto opened = open_state_file(options.directory, options.name, offsetof(Header, process));
  if (!opened) {
    return opened.error();
  }
  start_reason_ = std::move(opened->reason);
  if (opened->file < 0) {
    return open_private(options, layout);
  }
  file_ = opened->file;
  struct stat info {};
  if (fstat(file_, &info) != 0) {
    return file_error("cannot read the size of the connection table", opened->path, "remove it");
  }
  if (static_cast<std::size_t>(info.st_size) == layout.end) {
    auto area = MemoryArea::of_file(file_, layout.end);
    if (!area) {
      return area.error();
    }
    area_ = std::move(*area);
    set_pointers(layout);
    start_reason_ = mismatch_reason(options);
    if (start_reason_.empty()) {
      start_ = StateStart::kAdopted;
      header_->process = static_cast<std::uint32_t>(getpid());
      return Ok{};
    }
  } else if (info.st_size != 0) {
    start_reason_ = size_mismatch_reason(options);
  }
  start_ = start_reason_.empty() ? StateStart::kNew : StateStart::kDiscarded;
  return start_fresh(options, layout, opened->path);
}

Status FlowMapping::open_beside(const Options& options, const Layout& layout) {
  auto opened = open_running_state_file(options.directory, options.name);
  if (!opened) {
    return opened.error();
  }
  file_ = opened->file;
  struct stat info {};
  if (fstat(file_, &info) != 0 || static_cast<std::size_t>(info.st_size) != layout.end) {
    start_reason_ = size_mismatch_reason(options);
  } else {
    auto area = MemoryArea::of_file(file_, layout.end);
    if (!area) {
      return area.error();
    }
    area_ = std::move(*area);
    set_pointers(layout);
    start_reason_ = mismatch_reason(options);
  }
  if (!start_reason_.empty()) {
    return Error{"the connection table of the gateway that runs cannot be taken over: " + start_reason_, opened->path,
                 "stop that gateway first"};
  }
  start_ = StateStart::kAdopted;
  return Ok{};
}

Status FlowMapping::take(int file, const Options& options) {
  if (!options.keep_state) {
    return Ok{};
  }
  struct stat ours {
  }, theirs{};
  if (file < 0) {
    if (Status locked = lock_state_file(file_, options.directory, options.name, offsetof(Header, process)); !locked) {
      return locked;
    }
  } else if (fstat(file_, &ours) != 0 || fstat(file, &theirs) != 0 || ours.st_dev != theirs.st_dev ||
             ours.st_ino != theirs.st_ino) {
    return Error{"the gateway that hands over has another connection table",
                 state_file_path(options.directory, options.name), ""};
  } else {
    close(std::exchange(file_, fcntl(file, F_DUPFD_CLOEXEC, 0)));
  }
  header_->process = static_cast<std::uint32_t>(getpid());
  return Ok{};
}

// The file has another size than this table needs: its header, if there is one, may say why.
std::string FlowMapping::size_mismatch_reason(const Options& options) const {
  alignas(Header) std::array<std::byte, sizeof(Header)> bytes{};
  if (pread(file_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size())) {
    std::uint32_t connections = 0;
    std::uint64_t magic = 0;
    std::memcpy(&connections, bytes.data() + offsetof(Header, connections), sizeof connections);
    std::memcpy(&magic, bytes.data() + offsetof(Header, magic), sizeof magic);
    if (magic == kMagic && connections != options.connections) {
      return differs("capacity", connections, options.connections);
    }
  }
  return "the file's size does not match";
}

Status FlowMapping::start_fresh(const Options& options, const Layout& layout, const std::string& path) {
  area_ = MemoryArea();
  const auto size = static_cast<off_t>(layout.end);
  if (ftruncate(file_, 0) != 0 || ftruncate(file_, size) != 0) {
    return file_error("cannot size the connection table", path, "make the table smaller (engine.connections)");
  }
  if (const int error = posix_fallocate(file_, 0, size); error != 0) {
    const int truncated = ftruncate(file_, 0);  // release what was reserved so far
    errno = truncated == 0 ? error : errno;
    return file_error(("cannot reserve " + std::to_string(layout.end >> 20) + " MiB").c_str(), path,
                      "give the file system more space, or make the table smaller (engine.connections)");
  }
  auto area = MemoryArea::of_file(file_, layout.end);
  if (!area) {
    return area.error();
  }
  area_ = std::move(*area);
  set_pointers(layout);
  write_header(options);
  return Ok{};
}

}  // namespace isthmus
