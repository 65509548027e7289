// Captures what libbpf would print to stderr during its calls, so that the reason gets into the error message.
// Control thread; one instance at a time (libbpf has one print function per process).
#pragma once

#include <bpf/libbpf.h>

#include <mutex>
#include <string>

namespace isthmus {

class LibbpfMessages {
 public:
  LibbpfMessages();
  ~LibbpfMessages();
  LibbpfMessages(const LibbpfMessages&) = delete;
  LibbpfMessages& operator=(const LibbpfMessages&) = delete;
  // The last warning, without libbpf's prefix; empty if there was none.
  [[nodiscard]] std::string last_line() const;

 private:
  std::unique_lock<std::mutex> lock_;
  libbpf_print_fn_t previous_;
};

}  // namespace isthmus
