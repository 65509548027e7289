// Runs an etcd on this machine and writes to it. Calls block; any failure ends the program with a message.
// Threads: one per Writer.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "perf/hub/synthetic.h"

namespace grpc {
class Channel;
}

namespace isthmus::perf {

// A separate connection to the server at host:port; by default gRPC would share one within the process.
[[nodiscard]] std::shared_ptr<grpc::Channel> connect(const std::string& address);

// An etcd process without TLS on a free loopback port, with its data in a new directory below `folder`. The destructor
// stops it and removes the data.
class EtcdProcess {
 public:
  explicit EtcdProcess(const std::string& folder);
  ~EtcdProcess();
  EtcdProcess(const EtcdProcess&) = delete;
  EtcdProcess& operator=(const EtcdProcess&) = delete;
  [[nodiscard]] const std::string& address() const { return address_; }  // host:port
  [[nodiscard]] const std::string& folder() const { return folder_; }

 private:
  std::string folder_, address_;
  pid_t pid_ = -1;
};

class Writer {
 public:
  explicit Writer(const std::string& address);
  ~Writer();
  // One transaction of at most 128 puts; returns when the server has acknowledged it.
  void put(const std::vector<KeyValue>& entries);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace isthmus::perf
