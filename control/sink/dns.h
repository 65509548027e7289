// Records of global services for an ordinary DNS server: "<vip> <service>.<namespace>.svc.<domain>" in a hosts file.
//
// Owner: control/daemon. Thread: control; does file I/O (some microseconds). See control/sink/README.md for how to
// configure dnsmasq and CoreDNS.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "control/compile/views.h"
#include "dataplane/api/types.h"

namespace isthmus {

class DnsSink {
 public:
  // `file` is the full path; a missing folder is created. `domain` without a dot at either end.
  DnsSink(std::string file, std::string domain);
  // Writes the names of all services that have a VIP. The file is replaced atomically, and only if its content changes.
  // Returns whether it was written.
  [[nodiscard]] Result<bool> update(const std::vector<ServiceView>& services);
  // False: the file is not known to have what was given last.
  [[nodiscard]] bool synced() const { return synced_; }

 private:
  std::string file_, domain_;
  std::string written_;
  bool synced_ = false;  // written_ equals the content of the file
};

}  // namespace isthmus
