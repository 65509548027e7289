#include "perf/hub/watcher.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <utility>

#include "control/daemon/priority.h"
#include "perf/hub/writer.h"
#include "perf/path/gateway.h"
#include "rpc.grpc.pb.h"

namespace isthmus::perf {

struct Watcher::Impl {
  using Stream = grpc::ClientReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>;
  explicit Impl(const std::string& address) : stub(etcdserverpb::Watch::NewStub(connect(address))) {}

  std::unique_ptr<etcdserverpb::Watch::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<Stream> stream;
  std::atomic<bool> ending{false};

  void create(const std::string& key) {
    etcdserverpb::WatchRequest request;
    request.mutable_create_request()->set_key(key);
    stream = stub->Watch(&context);
    etcdserverpb::WatchResponse reply;
    if (!stream->Write(request) || !stream->Read(&reply) || !reply.created() || reply.canceled()) {
      fail("etcd rejects a watch of " + key);
    }
  }

  void read(const OnValue& on_value) {
    etcdserverpb::WatchResponse reply;
    while (stream->Read(&reply)) {
      const std::int64_t arrived = std::chrono::steady_clock::now().time_since_epoch().count();
      for (const mvccpb::Event& event : reply.events()) {
        on_value(event.kv().value(), arrived);
      }
    }
    if (!ending) {
      fail("etcd ended a watch: " + stream->Finish().error_message());
    }
  }
};

Watcher::Watcher(const std::string& address, const std::string& key, OnValue on_value)
    : impl_(std::make_unique<Impl>(address)) {
  impl_->create(key);
  thread_ = std::thread([this, on_value = std::move(on_value)] {
    raise_priority();
    impl_->read(on_value);
  });
}

Watcher::~Watcher() {
  impl_->ending = true;
  impl_->context.TryCancel();
  thread_.join();
}

}  // namespace isthmus::perf
