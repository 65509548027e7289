#include "dataplane/base/memory_area.h"

#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>

namespace isthmus {

void* map_aligned(std::size_t bytes) noexcept {
  void* wider = mmap(nullptr, bytes + kHugePageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (wider == MAP_FAILED) {
    return wider;
  }
  auto* const first = static_cast<std::byte*>(wider);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(first) & (kHugePageBytes - 1);
  if (before != 0) {
    munmap(first, before);
  }
  munmap(first + before + bytes, kHugePageBytes - before);
  return first + before;
}

// From /proc/self/smaps (proc(5)). One mapping listed there may be larger than this area.
std::size_t MemoryArea::huge_page_bytes() const {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> smaps(std::fopen("/proc/self/smaps", "re"), std::fclose);
  if (!smaps || start_ == nullptr) {
    return 0;
  }
  const auto first = reinterpret_cast<std::uintptr_t>(start_);
  std::size_t huge = 0;
  bool ours = false;
  char line[512];
  while (std::fgets(line, sizeof line, smaps.get()) != nullptr) {
    std::uintptr_t from = 0, to = 0;
    char name[32];
    std::size_t kib = 0;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
      ours = from < first + bytes_ && to > first;
    } else if (ours && std::sscanf(line, "%31[A-Za-z_]: %zu kB", name, &kib) == 2) {
      const std::string_view field = name;
      if (field == "AnonHugePages" || field == "ShmemPmdMapped" || field == "FilePmdMapped") {
        huge += kib * 1024;
      }
    }
  }
  return std::min(huge, bytes_);
}

}  // namespace isthmus
