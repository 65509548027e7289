// FlowMapping: the memory in which connections outlive a process: header, epoch words, connection slots, blocks.
//
// A file `<directory>/isthmus-<name>.flows`, locked by the engine that uses it, or an anonymous mapping. open() takes
// over an earlier process's file when layout, sizes, capacity and boot are the same, else starts fresh in it and keeps
// the reason. The space is reserved at open, so that a full file system is an error then, not a signal later.
// Threads: open and destruction by control; the rest any. Numbers of peers, services and so on in adopted records are
// the earlier process's: hints at best.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "dataplane/base/result.h"
#include "dataplane/base/types.h"
#include "dataplane/flow/connection.h"
#include "dataplane/flow/direction_block.h"
#include "dataplane/flow/epoch_table.h"
#include "dataplane/tables/memory_area.h"

namespace isthmus {

class FlowMapping {
 public:
  struct Options {
    std::string name;
    std::string directory;
    bool keep_state = true;
    std::uint32_t connections = 0;
    std::uint32_t blocks = 0;  // numbers 1..blocks
  };
  [[nodiscard]] static Result<FlowMapping> open(const Options& options);
  FlowMapping(FlowMapping&& other) noexcept;
  FlowMapping& operator=(FlowMapping&&) = delete;
  ~FlowMapping();

  // True: slots hold what an earlier process left, to be validated one by one.
  [[nodiscard]] bool adopted() const noexcept { return adopted_; }
  [[nodiscard]] const std::string& fresh_reason() const noexcept { return fresh_reason_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return area_.bytes(); }
  // Of these, as it was when the mapping was opened.
  [[nodiscard]] std::size_t huge_page_bytes() const noexcept { return huge_page_bytes_; }

  [[nodiscard]] Connection& connection(std::uint32_t slot) const noexcept { return connections_[slot]; }
  // 1 <= number <= blocks.
  [[nodiscard]] DirectionBlock& block(std::uint32_t number) const noexcept { return blocks_[number]; }
  [[nodiscard]] EpochTable::Word* epochs() const noexcept { return epochs_; }

  [[nodiscard]] Seconds seconds_at(Nanoseconds boot_time) const noexcept;
  // Tells a later process how old the state is. Any worker, now and then.
  void still_used(Seconds now) noexcept;

 private:
  struct Header;
  struct Layout;
  FlowMapping() = default;
  [[nodiscard]] static Layout layout_of(const Options& options) noexcept;
  [[nodiscard]] Status open_file(const Options& options, const Layout& layout);
  [[nodiscard]] std::string why_not(const Options& options) const;
  [[nodiscard]] std::string reason_of_other_size(const Options& options) const;
  [[nodiscard]] Status start_fresh(const Options& options, const Layout& layout, const std::string& path);
  void write_header(const Options& options) noexcept;
  void place(const Layout& layout) noexcept;

  MemoryArea area_;
  int file_ = -1;
  bool adopted_ = false;
  std::string fresh_reason_;
  std::size_t huge_page_bytes_ = 0;
  Header* header_ = nullptr;
  EpochTable::Word* epochs_ = nullptr;
  Connection* connections_ = nullptr;
  DirectionBlock* blocks_ = nullptr;  // [0] is unused
};

}  // namespace isthmus
