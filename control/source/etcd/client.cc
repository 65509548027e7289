#include "control/source/etcd/client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "control/source/etcd/loop_impl.h"
#include "rpc.grpc.pb.h"

namespace isthmus {
namespace {

EtcdHeader header_of(bool present, const etcdserverpb::ResponseHeader& header) {
  return {present, header.cluster_id(), header.revision()};
}

EtcdFailure failure_of(const grpc::Status& status) {
  using Kind = EtcdFailure::Kind;
  const std::string& text = status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNIMPLEMENTED:
      return {Kind::kConnection, text.empty() ? "the connection was lost" : text};
    case grpc::StatusCode::PERMISSION_DENIED:
      return {Kind::kDenied, text};
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::FAILED_PRECONDITION:
      return {Kind::kUnauthenticated, text};
    case grpc::StatusCode::OUT_OF_RANGE:
      return {Kind::kCompacted, text};
    default:
      return {Kind::kOther, text};
  }
}

// Shared by the handle and the pending completions. After cancel() it lives until its last completion.
class Call : public EtcdPending, public std::enable_shared_from_this<Call> {
 public:
  explicit Call(EtcdLoop::Impl& loop) : loop_(loop) {}
  void cancel() {
    active_ = false;
    context_.TryCancel();
  }

 protected:
  void begin() {
    self_ = shared_from_this();
    ++loop_.pending;
  }
  // May destroy this object, unless the caller holds a reference.
  void finish() {
    --loop_.pending;
    self_.reset();
  }

  EtcdLoop::Impl& loop_;
  grpc::ClientContext context_;
  grpc::Status status_;
  bool active_ = true;

 private:
  std::shared_ptr<Call> self_;
};

class Handle final : public EtcdCall {
 public:
  explicit Handle(std::shared_ptr<Call> call) : call_(std::move(call)) {}
  ~Handle() override { call_->cancel(); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

 private:
  std::shared_ptr<Call> call_;
};

template <typename Reply>
class UnaryCall final : public Call {
 public:
  using OnReply = std::function<void(const Reply&)>;
  UnaryCall(EtcdLoop::Impl& loop, std::chrono::milliseconds timeout, OnReply done, EtcdClient::OnFailure failed)
      : Call(loop), done_(std::move(done)), failed_(std::move(failed)) {
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
  }
  template <typename Prepare>
  void start(Prepare&& prepare) {
    begin();
    reader_ = prepare(&context_, &loop_.queue);
    reader_->StartCall();
    reader_->Finish(&reply_, &status_, static_cast<EtcdPending*>(this));
  }
  void completed(bool) override {
    const auto self = shared_from_this();
    finish();
    if (!active_) {
      return;
    }
    if (status_.ok()) {
      done_(reply_);
    } else {
      failed_(failure_of(status_));
    }
  }

 private:
  OnReply done_;
  EtcdClient::OnFailure failed_;
  Reply reply_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Reply>> reader_;
};

// A stream that writes one request and then reads until the stream ends.
template <typename Request, typename Reply>
class StreamCall final : public Call {
 public:
  using OnReply = std::function<void(const Reply&)>;
  StreamCall(EtcdLoop::Impl& loop, Request request, OnReply reply, EtcdClient::OnEnd end)
      : Call(loop), request_(std::move(request)), on_reply_(std::move(reply)), on_end_(std::move(end)) {}
  template <typename Prepare>
  void start(std::chrono::milliseconds timeout, Prepare&& prepare) {
    if (timeout.count() > 0) {
      context_.set_deadline(std::chrono::system_clock::now() + timeout);
    }
    context_.AddMetadata("hasleader", "true");  // fail instead of hanging when there is no leader
    begin();
    stream_ = prepare(&context_, &loop_.queue);
    stream_->StartCall(tag());
  }
  void completed(bool ok) override {
    const auto self = shared_from_this();
    if (step_ == Step::kFinish) {
      finish();
      if (active_) {
        const EtcdFailure failure = failure_of(status_);
        on_end_(status_.ok() ? nullptr : &failure);
      }
      return;
    }
    if (!ok || !active_) {
      step_ = Step::kFinish;
      stream_->Finish(&status_, tag());
      return;
    }
    if (step_ == Step::kStart) {
      step_ = Step::kWrite;
      stream_->Write(request_, tag());
      return;
    }
    if (step_ == Step::kRead) {
      on_reply_(reply_);
    }
    step_ = Step::kRead;
    stream_->Read(&reply_, tag());
  }

 private:
  enum class Step : std::uint8_t { kStart, kWrite, kRead, kFinish };
  void* tag() { return static_cast<EtcdPending*>(this); }

  Step step_ = Step::kStart;
  Request request_;
  Reply reply_;
  OnReply on_reply_;
  EtcdClient::OnEnd on_end_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Reply>> stream_;
};

EtcdKeyValue view_of(const mvccpb::KeyValue& kv) { return {kv.key(), kv.value(), kv.mod_revision()}; }

EtcdRangeReply view_of(const etcdserverpb::RangeResponse& from) {
  EtcdRangeReply reply{header_of(from.has_header(), from.header()), {}, from.more()};
  reply.kvs.reserve(static_cast<std::size_t>(from.kvs_size()));
  for (const mvccpb::KeyValue& kv : from.kvs()) {
    reply.kvs.push_back(view_of(kv));
  }
  return reply;
}

EtcdWatchReply view_of(const etcdserverpb::WatchResponse& from) {
  EtcdWatchReply reply{header_of(from.has_header(), from.header()),
                       from.created(),
                       from.canceled(),
                       from.compact_revision(),
                       from.cancel_reason(),
                       {}};
  reply.events.reserve(static_cast<std::size_t>(from.events_size()));
  for (const mvccpb::Event& event : from.events()) {
    reply.events.push_back({event.type() == mvccpb::Event::DELETE, view_of(event.kv())});
  }
  return reply;
}

class GrpcClient final : public EtcdClient {
 public:
  GrpcClient(EtcdLoop::Impl& loop, std::shared_ptr<grpc::Channel> channel, std::chrono::milliseconds call_timeout)
      : loop_(loop),
        channel_(std::move(channel)),
        call_timeout_(call_timeout),
        kv_(etcdserverpb::KV::NewStub(channel_)),
        watch_(etcdserverpb::Watch::NewStub(channel_)),
        lease_(etcdserverpb::Lease::NewStub(channel_)) {}

  EtcdCallHandle range(const EtcdRange& range, std::int64_t limit, std::int64_t revision, OnRange done,
                       OnFailure failed) override {
    etcdserverpb::RangeRequest request;
    request.set_key(range.key);
    request.set_range_end(range.end);
    request.set_limit(limit);
    request.set_revision(revision);
    request.set_sort_order(etcdserverpb::RangeRequest::ASCEND);
    return unary<etcdserverpb::RangeResponse>(
        [done = std::move(done)](const etcdserverpb::RangeResponse& reply) { done(view_of(reply)); }, std::move(failed),
        [&](auto* context, auto* queue) { return kv_->PrepareAsyncRange(context, request, queue); });
  }

  EtcdCallHandle watch(const EtcdRange& range, std::int64_t start_revision, OnWatch reply, OnEnd end) override {
    etcdserverpb::WatchRequest request;
    etcdserverpb::WatchCreateRequest& create = *request.mutable_create_request();
    create.set_key(range.key);
    create.set_range_end(range.end);
    create.set_start_revision(start_revision);
    create.set_progress_notify(true);
    const auto call = std::make_shared<StreamCall<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>(
        loop_, std::move(request),
        [reply = std::move(reply)](const etcdserverpb::WatchResponse& from) { reply(view_of(from)); }, std::move(end));
    call->start(std::chrono::milliseconds{0},
                [&](auto* context, auto* queue) { return watch_->PrepareAsyncWatch(context, queue); });
    return std::make_unique<Handle>(call);
  }

  EtcdCallHandle put(const std::string& key, const std::string& value, std::int64_t lease, OnDone done,
                     OnFailure failed) override {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    request.set_lease(lease);
    return unary<etcdserverpb::PutResponse>(
        [done = std::move(done)](const etcdserverpb::PutResponse& reply) {
          done(header_of(reply.has_header(), reply.header()));
        },
        std::move(failed), [&](auto* context, auto* queue) { return kv_->PrepareAsyncPut(context, request, queue); });
  }

  EtcdCallHandle grant(std::chrono::seconds ttl, OnLease done, OnFailure failed) override {
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(ttl.count());
    return unary<etcdserverpb::LeaseGrantResponse>(
        [done = std::move(done)](const etcdserverpb::LeaseGrantResponse& reply) {
          done(reply.id(), std::chrono::seconds(reply.ttl()));
        },
        std::move(failed),
        [&](auto* context, auto* queue) { return lease_->PrepareAsyncLeaseGrant(context, request, queue); });
  }

  EtcdCallHandle revoke(std::int64_t lease, OnDone done, OnFailure failed) override {
    etcdserverpb::LeaseRevokeRequest request;
    request.set_id(lease);
    return unary<etcdserverpb::LeaseRevokeResponse>(
        [done = std::move(done)](const etcdserverpb::LeaseRevokeResponse& reply) {
          done(header_of(reply.has_header(), reply.header()));
        },
        std::move(failed),
        [&](auto* context, auto* queue) { return lease_->PrepareAsyncLeaseRevoke(context, request, queue); });
  }

  EtcdCallHandle keep_alive(std::int64_t lease, OnLease done, OnFailure failed) override {
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(lease);
    // A stream in etcd's API; only its first reply is used, and each renewal opens a new one.
    const auto call =
        std::make_shared<StreamCall<etcdserverpb::LeaseKeepAliveRequest, etcdserverpb::LeaseKeepAliveResponse>>(
            loop_, std::move(request),
            [done = std::move(done)](const etcdserverpb::LeaseKeepAliveResponse& reply) {
              done(reply.id(), std::chrono::seconds(reply.ttl()));
            },
            [failed = std::move(failed)](const EtcdFailure* failure) {
              failed(failure != nullptr ? *failure : EtcdFailure{EtcdFailure::Kind::kConnection, "stream closed"});
            });
    call->start(call_timeout_,
                [&](auto* context, auto* queue) { return lease_->PrepareAsyncLeaseKeepAlive(context, queue); });
    return std::make_unique<Handle>(call);
  }

  bool connected() const override { return channel_->GetState(false) == GRPC_CHANNEL_READY; }

 private:
  template <typename Reply, typename Prepare>
  EtcdCallHandle unary(std::function<void(const Reply&)> done, OnFailure failed, Prepare&& prepare) {
    const auto call = std::make_shared<UnaryCall<Reply>>(loop_, call_timeout_, std::move(done), std::move(failed));
    call->start(prepare);
    return std::make_unique<Handle>(call);
  }

  EtcdLoop::Impl& loop_;
  std::shared_ptr<grpc::Channel> channel_;
  std::chrono::milliseconds call_timeout_;
  std::unique_ptr<etcdserverpb::KV::Stub> kv_;
  std::unique_ptr<etcdserverpb::Watch::Stub> watch_;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease_;
};

std::shared_ptr<grpc::ChannelCredentials> credentials_of(const EtcdClientOptions& options) {
  if (options.plaintext) {
    return grpc::InsecureChannelCredentials();
  }
  if (!options.skip_verify) {
    return grpc::SslCredentials({options.ca, options.key, options.certificate});
  }
  grpc::experimental::TlsChannelCredentialsOptions tls;
  tls.set_verify_server_certs(false);
  tls.set_check_call_host(false);
  tls.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  if (!options.certificate.empty()) {
    tls.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
        std::vector<grpc::experimental::IdentityKeyCertPair>{{options.key, options.certificate}}));
    tls.watch_identity_key_cert_pairs();
  }
  return grpc::experimental::TlsCredentials(tls);
}

}  // namespace

EtcdRange prefix_range(std::string prefix) {
  std::string end = prefix;
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) {
    end.pop_back();
  }
  if (end.empty()) {
    end.assign(1, '\0');
  } else {
    end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  }
  return {std::move(prefix), std::move(end)};
}

std::unique_ptr<EtcdClient> connect_etcd(EtcdLoop& loop, const EtcdClientOptions& options) {
  const std::size_t scheme = options.endpoint.find("://");
  std::string target = scheme == std::string::npos ? options.endpoint : options.endpoint.substr(scheme + 3);
  while (!target.empty() && target.back() == '/') {
    target.pop_back();
  }
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(-1);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive_time.count()));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(options.keepalive_timeout.count()));
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // ping idle connections too
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // do not reuse the connection of another attempt
  const auto channel = grpc::CreateCustomChannel("dns:///" + target, credentials_of(options), args);
  return std::make_unique<GrpcClient>(loop.impl(), channel, options.call_timeout);
}

}  // namespace isthmus
