// How `isthmus allocate` reads a file hub and writes a claim into it. Plain functions; blocks on the disk. Thread: any;
// a lock file in the hub's folder keeps processes apart.
#pragma once

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "control/model/objects.h"
#include "dataplane/api/types.h"

namespace isthmus {

// Lock file of the hub, held while a claim is searched for and written. The destructor removes it.
class HubLock {
 public:
  explicit HubLock(const std::string& hub) : path_(hub + "/.allocate.lock") {}
  ~HubLock();
  HubLock(const HubLock&) = delete;
  HubLock& operator=(const HubLock&) = delete;

  [[nodiscard]] Status acquire(std::chrono::milliseconds timeout);

 private:
  std::string path_;
  bool held_ = false;
};

// Calls visit(object) for all of the hub, and returns the names of its folders of clusters. Error: a folder or a file
// that cannot be read, or an object of one of the kinds, which may be in the claim's way.
[[nodiscard]] Result<std::vector<std::string>> visit_hub(const std::string& hub, const std::set<ObjectKind>& kinds,
                                                         const std::function<void(const ObjectDelta&)>& visit);

// Writes the file atomically. A claim never moves, so it is on the disk before anybody learns of it.
[[nodiscard]] Status write_claim(const std::string& folder, const std::string& name, const std::string& text);

}  // namespace isthmus
