#include "perf/hub/writer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "perf/path/gateway.h"
#include "rpc.grpc.pb.h"

extern char** environ;

namespace isthmus::perf {
namespace {

constexpr int kStartSeconds = 30, kCallSeconds = 60;

std::uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    fail("no free port on the loopback interface");
  }
  close(fd);
  return ntohs(address.sin_port);
}

}  // namespace

std::shared_ptr<grpc::Channel> connect(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

EtcdProcess::EtcdProcess(const std::string& folder) {
  std::string name = folder + "/isthmus-perf-etcd-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    fail("cannot create a directory in " + folder);
  }
  folder_ = name;
  address_ = "127.0.0.1:" + std::to_string(free_port());
  const std::string client = "http://" + address_, peer = "http://127.0.0.1:" + std::to_string(free_port());
  std::vector<std::string> words{"etcd",
                                 "--data-dir=" + folder_ + "/data",
                                 "--name=perf",
                                 "--log-level=error",
                                 "--quota-backend-bytes=6442450944",
                                 "--snapshot-count=100000",
                                 "--listen-client-urls=" + client,
                                 "--advertise-client-urls=" + client,
                                 "--listen-peer-urls=" + peer,
                                 "--initial-advertise-peer-urls=" + peer,
                                 "--initial-cluster=perf=" + peer};
  std::vector<char*> args;
  for (std::string& word : words) {
    args.push_back(word.data());
  }
  args.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const std::string log = folder_ + "/log";
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&actions, fd, log.c_str(), O_CREAT | O_APPEND | O_WRONLY, 0600);
  }
  const int failed = posix_spawnp(&pid_, "etcd", &actions, nullptr, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    fail("cannot start etcd: install etcd-server");
  }
  const auto channel = connect(address_);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(kStartSeconds))) {
    fail("etcd does not answer; its log: " + log);
  }
}

EtcdProcess::~EtcdProcess() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

struct Writer::Impl {
  explicit Impl(const std::string& address) : stub(etcdserverpb::KV::NewStub(connect(address))) {}
  std::unique_ptr<etcdserverpb::KV::Stub> stub;
};

Writer::Writer(const std::string& address) : impl_(std::make_unique<Impl>(address)) {}
Writer::~Writer() = default;

void Writer::put(const std::vector<KeyValue>& entries) {
  etcdserverpb::TxnRequest request;
  for (const KeyValue& entry : entries) {
    auto* put = request.add_success()->mutable_request_put();
    put->set_key(entry.key);
    put->set_value(entry.value);
  }
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(kCallSeconds));
  etcdserverpb::TxnResponse response;
  if (const grpc::Status status = impl_->stub->Txn(&context, request, &response); !status.ok()) {
    fail("etcd rejects a write: " + status.error_message());
  }
}

}  // namespace isthmus::perf
