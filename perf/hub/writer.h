// Writes into an etcd on this machine, and runs one. Calls block; any failure ends the program with a message.
// Thread: one for each Writer.
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

// A connection of its own to the server at host:port, as separate clients have: gRPC would let all of a process share
// one.
[[nodiscard]] std::shared_ptr<grpc::Channel> connect(const std::string& address);

// An etcd without TLS on a free port of the loopback, its data in a folder of its own below `folder`; both go with
// this.
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
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace isthmus::perf
