// Shared by the connection table's tests: helpers for keys, and a table driven by one thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "dataplane/base/quiescence.h"
#include "dataplane/conntrack/flow_table.h"

namespace isthmus::flow_test {

inline IpAddress address(const char* text) { return IpAddress::parse(text).value(); }

inline FlowKey key(const IpAddress& source, std::uint16_t source_port, const IpAddress& destination,
                   std::uint16_t destination_port, IpProtocol protocol = IpProtocol::kTcp) {
  FlowKey k;
  k.set_source(source);
  k.set_destination(destination);
  k.source_port = Be16::of(source_port);
  k.destination_port = Be16::of(destination_port);
  k.protocol = protocol;
  return k;
}

inline FlowKey key(const char* source, std::uint16_t source_port, const char* destination,
                   std::uint16_t destination_port, IpProtocol protocol = IpProtocol::kTcp) {
  return key(address(source), source_port, address(destination), destination_port, protocol);
}

// The n-th of many clients of one server.
inline FlowKey numbered(std::uint32_t n, IpProtocol protocol = IpProtocol::kTcp) {
  return key(IpAddress::ipv4(Be32::of(0x0a000000 + (n >> 8))), static_cast<std::uint16_t>(1024 + (n & 0xff)),
             address("10.2.0.1"), 80, protocol);
}

inline NewConnection direct(const FlowKey& forward) {
  NewConnection c;
  c.forward = forward;
  c.reply = forward.reversed();
  return c;
}

inline DirectionBlock block_to(std::uint32_t encap_peer) {
  DirectionBlock b;
  b.encap_peer = PeerId{encap_peer};
  return b;
}

// A table whose workers are all driven by one thread and inside a read section; control is the last reader.
class Bench {
 public:
  explicit Bench(FlowTable::Options options) : quiescence_(options.workers + 1), workers_(options.workers) {
    auto opened = FlowTable::open(options, quiescence_);
    if (!opened) {
      error = opened.error();
      return;
    }
    table_ = std::move(*opened);
    for (unsigned w = 0; w < workers_; ++w) {
      quiescence_.online(w);
    }
  }
  [[nodiscard]] bool ok() const { return table_ != nullptr; }
  FlowTable& operator*() { return *table_; }
  FlowTable* operator->() { return table_.get(); }
  [[nodiscard]] Quiescence& quiescence() { return quiescence_; }
  [[nodiscard]] unsigned control() const { return workers_; }
  void close() { table_.reset(); }

  void quiesce() {
    for (unsigned w = 0; w < workers_; ++w) {
      quiescence_.quiescent(w);
    }
  }
  // Every worker ages its whole share, and everything retired is freed.
  unsigned age_all(Seconds now) {
    unsigned removed = 0;
    for (unsigned round = 0; round < 3; ++round) {
      for (unsigned w = 0; w < workers_; ++w) {
        removed += table_->age_connections(WorkerId{static_cast<std::uint8_t>(w)}, now, table_->share());
      }
      quiesce();
    }
    return removed;
  }

  Error error;

 private:
  Quiescence quiescence_;
  unsigned workers_;
  std::unique_ptr<FlowTable> table_;
};

inline FlowTable::Options private_table(std::uint32_t connections, unsigned workers = 1) {
  FlowTable::Options o;
  o.keep_state = false;
  o.connections = connections;
  o.half_open_limit = connections;
  o.workers = workers;
  return o;
}

inline constexpr WorkerId kW0{0};
inline constexpr WorkerId kW1{1};
inline constexpr Bytes kLength{100};

inline void put(Bench& table, const NewConnection& request, Seconds now) {
  EXPECT_EQ(table->insert(kW0, request, now).outcome, InsertOutcome::kInserted);
}

}  // namespace isthmus::flow_test
