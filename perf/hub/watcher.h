// A bare client of an etcd on this machine: it watches one key and tells when the server's events arrive, so that a run
// knows what etcd and the machine's scheduler take before anything of a gateway begins. On a connection and a thread of
// its own. Failure: a watch that cannot be had, or ends, ends the program with a message.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

namespace isthmus::perf {

class Watcher {
 public:
  // Called on the watcher's thread with the value that the key was given. `arrived`: CLOCK_MONOTONIC, nanoseconds.
  using OnValue = std::function<void(std::string_view value, std::int64_t arrived)>;
  // Returns when the server has confirmed the watch.
  Watcher(const std::string& address, const std::string& key, OnValue on_value);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
  std::thread thread_;
};

}  // namespace isthmus::perf
