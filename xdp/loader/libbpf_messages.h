// Keeps what libbpf would print to stderr while one of its calls runs, so that the reason reaches the error message.
// Control thread; one at a time (libbpf has one print function for the process).
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
  // The last warning, without libbpf's introduction; empty if it gave none.
  [[nodiscard]] std::string last_line() const;

 private:
  std::unique_lock<std::mutex> lock_;
  libbpf_print_fn_t previous_;
};

}  // namespace isthmus
