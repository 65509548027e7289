// FlowMapping: the memory in which connections survive a restart: header, epoch words, connection slots, blocks, and
// what XDP has forwarded.
//
// The file of state_file.h, locked by the engine that uses it, or an anonymous mapping. open() adopts the file of an
// earlier process when layout, sizes, capacity and boot match; otherwise it clears the file and keeps the reason. The
// space is reserved at open, so that a full file system is an error then, not a SIGBUS later. Threads: open and
// destruction by control; the rest any. Adopted records name peers and services by address; the ids in their blocks are
// those of the earlier process and mean nothing now.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/base/memory_area.h"
#include "dataplane/base/result.h"
#include "dataplane/base/state_start.h"
#include "dataplane/base/types.h"
#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/direction_block.h"
#include "dataplane/conntrack/epoch_table.h"

namespace isthmus {

class FlowMapping {
 public:
  struct Options {
    std::string name;
    std::string directory;
    bool keep_state = true;
    std::uint32_t connections = 0;
    std::uint32_t blocks = 0;  // numbers 1..blocks
    bool beside = false;       // the file is another engine's, which runs: nothing is written before take()
  };
  [[nodiscard]] static Result<FlowMapping> open(const Options& options);
  // Two per connection, and spare ones for revalidations whose old blocks wait for their grace period. Independent of
  // the number of workers, so that changing that number keeps the state.
  [[nodiscard]] static std::uint32_t blocks_for(std::uint32_t connections) noexcept {
    return 2 * connections + connections / 8 + 4096;
  }
  // What the mapping of a table of that capacity takes.
  [[nodiscard]] static std::size_t bytes_for(std::uint32_t connections) noexcept;
  FlowMapping(FlowMapping&& other) noexcept;
  FlowMapping& operator=(FlowMapping&&) = delete;
  ~FlowMapping();

  // Of one opened beside another engine, which stands now: `file`, if there is one, is that engine's descriptor with
  // the lock. Error: it is still that engine's.
  [[nodiscard]] Status take(int file, const Options& options);
  // For a successor; -1: the table is not kept.
  [[nodiscard]] int file() const noexcept { return file_; }

  // kAdopted: slots hold the state of an earlier process and must be validated one by one.
  [[nodiscard]] StateStart start() const noexcept { return start_; }
  // Why an earlier file was not adopted, or the table is not kept though it should be; else empty.
  [[nodiscard]] const std::string& start_reason() const noexcept { return start_reason_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return area_.bytes(); }
  // Bytes on huge pages, measured when the mapping was opened.
  [[nodiscard]] std::size_t huge_page_bytes() const noexcept { return huge_page_bytes_; }

  [[nodiscard]] Connection& connection(std::uint32_t slot) const noexcept { return connections_[slot]; }
  // A line that no packet's key equals.
  [[nodiscard]] DirectionLine& no_line() const noexcept { return *no_line_; }
  // 0 <= number <= blocks; see kNoBlock.
  [[nodiscard]] DirectionBlock& block(std::uint32_t number) const noexcept { return blocks_[number]; }
  // Those of a slot.
  [[nodiscard]] ForwardedCounts& forwarded(std::uint32_t slot) const noexcept { return forwarded_[slot]; }
  [[nodiscard]] EpochTable::Word* epochs() const noexcept { return epochs_; }

  [[nodiscard]] Seconds seconds_at(Nanoseconds boot_time) const noexcept;
  // Records when the table was last in use, for a later process to judge the state's age. Any worker, periodically.
  void record_use(Seconds now) noexcept;

 private:
  struct Header;
  struct Layout;
  FlowMapping() = default;
  [[nodiscard]] static std::unique_ptr<DirectionLine> make_no_line() {
    auto line = std::make_unique<DirectionLine>();
    line->key.protocol = IpProtocol::kHopByHop;  // no packet with a key has it
    return line;
  }
  [[nodiscard]] static Layout layout_of(const Options& options) noexcept;
  [[nodiscard]] Status open_private(const Options& options, const Layout& layout);
  [[nodiscard]] Status open_file(const Options& options, const Layout& layout);
  [[nodiscard]] Status open_beside(const Options& options, const Layout& layout);
  [[nodiscard]] std::string mismatch_reason(const Options& options) const;
  [[nodiscard]] std::string size_mismatch_reason(const Options& options) const;
  [[nodiscard]] Status start_fresh(const Options& options, const Layout& layout, const std::string& path);
  void write_header(const Options& options) noexcept;
  void set_pointers(const Layout& layout) noexcept;

  MemoryArea area_;
  int file_ = -1;
  StateStart start_ = StateStart::kNotKept;
  std::string start_reason_;
  std::size_t huge_page_bytes_ = 0;
  Header* header_ = nullptr;
  EpochTable::Word* epochs_ = nullptr;
  Connection* connections_ = nullptr;
  DirectionBlock* blocks_ = nullptr;
  ForwardedCounts* forwarded_ = nullptr;
  std::unique_ptr<DirectionLine> no_line_ = make_no_line();
};

}  // namespace isthmus
