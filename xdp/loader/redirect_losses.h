// Counts, in SteerCounters::lost_after_redirect of a device, the packets that XDP programs of the engine redirect to it
// and that it does not take (xdp/losses.bpf.c).
//
// Of the network namespace that the constructing thread is in. Owner: KernelFlows. Counts from its construction to its
// destruction; what is lost while the engine is away has no name. Threads: control. Failure: a kernel without BTF, or
// that refuses the programs, is told by why_not(); nothing is counted then, and all else works.
#pragma once

#include <bpf/libbpf.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace isthmus {

class RedirectLosses {
 public:
  RedirectLosses();
  RedirectLosses(const RedirectLosses&) = delete;
  RedirectLosses& operator=(const RedirectLosses&) = delete;

  // Why nothing is counted; nullopt: it is.
  [[nodiscard]] const std::optional<std::string>& why_not() const noexcept { return why_not_; }
  // The interface is one of the engine's. `counters`: the map of its steer program; the kernel keeps it.
  void count_at(int interface_index, int counters);
  // It is not any more.
  void forget(int interface_index) noexcept;

 private:
  struct ObjectCloser {
    void operator()(bpf_object* object) const noexcept { bpf_object__close(object); }
  };
  struct LinkCloser {
    void operator()(bpf_link* link) const noexcept { bpf_link__destroy(link); }
  };
  // 0, or an error number.
  [[nodiscard]] int start();

  std::unique_ptr<bpf_object, ObjectCloser> object_;
  std::vector<std::unique_ptr<bpf_link, LinkCloser>> links_;
  int interfaces_ = -1;  // descriptor of object_
  std::optional<std::string> why_not_;
};

}  // namespace isthmus
