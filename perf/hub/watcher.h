// A minimal etcd client: watches one key and reports when the server's events arrive, to separate the latency of etcd
// and the scheduler from that of the gateway. Has its own connection and thread. Failure: if the watch cannot be
// created or ends, ends the program with a message.
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
  // Called on the watcher's thread with the key's new value. `arrived`: CLOCK_MONOTONIC, nanoseconds.
  using OnValue = std::function<void(std::string_view value, std::int64_t arrived)>;
  // Returns when the server has confirmed the watch.
  Watcher(const std::string& address, const std::string& key, OnValue on_value);
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::thread thread_;
};

}  // namespace isthmus::perf
