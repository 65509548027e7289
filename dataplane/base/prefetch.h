// Prefetches of a cache line that are always made. GCC takes a function that does nothing but __builtin_prefetch() for
// one without effects, and leaves out its calls unless it has inlined it before.
#pragma once

namespace isthmus {

// Of any address: a wrong one does nothing.
__attribute__((no_sanitize("undefined"))) inline void prefetch_line(const void* at) noexcept {
  asm volatile("prefetcht0 %0" : : "m"(*static_cast<const char*>(at)));
}
// For a line that is read once: it takes no place in the second-level cache.
__attribute__((no_sanitize("undefined"))) inline void prefetch_line_once(const void* at) noexcept {
  asm volatile("prefetchnta %0" : : "m"(*static_cast<const char*>(at)));
}
// For a line that will be written.
__attribute__((no_sanitize("undefined"))) inline void prefetch_line_for_write(const void* at) noexcept {
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(at)));
}

}  // namespace isthmus
