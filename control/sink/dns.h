// Records of global services for an ordinary DNS server: "<vip> <service>.<namespace>.svc.<domain>" in a hosts file.
//
// Owner: control/daemon. Thread: control; does file I/O, some microseconds. See control/sink/README.md for how dnsmasq
// and CoreDNS are pointed at it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "control/compile/views.h"
#include "dataplane/api/types.h"

namespace isthmus {

class DnsSink {
 public:
  // `file` is the whole path; its folder is made when missing. `domain` without a dot at either end.
  DnsSink(std::string file, std::string domain);
  // Writes the names of all services that have a VIP. The file changes only when its content does, and as a whole.
  // Returns whether it was written.
  [[nodiscard]] Result<bool> update(const std::vector<ServiceView>& services);

 private:
  std::string file_, domain_;
  std::string written_;
  bool known_ = false;  // written_ is what the file holds
};

}  // namespace isthmus
