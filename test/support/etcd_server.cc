#include "test/support/etcd_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <thread>

#include "rpc.grpc.pb.h"

namespace isthmus {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kTimeout{30};

// A temporary folder for all servers of the program, removed at exit.
class ProgramFolder {
 public:
  ProgramFolder() {
    std::string pattern = (fs::temp_directory_path() / "ist-etcd-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      throw std::runtime_error("no temporary folder");
    }
    path_ = pattern;
  }
  ~ProgramFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ProgramFolder(const ProgramFolder&) = delete;
  ProgramFolder& operator=(const ProgramFolder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

const fs::path& program_folder() {
  static const ProgramFolder folder;
  return folder.path();
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  if (!out.good()) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

// The certificates for servers and etcdctl, written once.
const fs::path& pki_folder() {
  static const fs::path folder = [] {
    fs::path path = program_folder() / "pki";
    fs::create_directories(path);
    const TestCertificate server = etcd_pki().server(), root = etcd_pki().client("root");
    write(path / "ca.crt", etcd_pki().ca());
    write(path / "server.crt", server.certificate);
    write(path / "server.key", server.key);
    write(path / "root.crt", root.certificate);
    write(path / "root.key", root.key);
    return path;
  }();
  return folder;
}

unsigned free_port() {
  const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool ok = bind(s, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                  getsockname(s, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(s);
  if (!ok) {
    throw std::runtime_error("no free port");
  }
  return ntohs(address.sin_port);
}

std::string role_script(const std::string& url, const std::string& cluster) {
  const std::string tls = " --cacert " + (pki_folder() / "ca.crt").string() + " --cert " +
                          (pki_folder() / "root.crt").string() + " --key " + (pki_folder() / "root.key").string();
  std::string script = "set -e\nexport ETCDCTL_API=3\nctl() { etcdctl --endpoints " + url + tls +
                       " \"$@\" >/dev/null; }\n"
                       "read_range() { ctl role grant-permission \"$1\" read \"$2\" \"$3\"; }\n"
                       "ctl user add root --no-password\nctl user grant-role root root\n";
  for (const char* user :
       {"remote remote", "remote-east remote", "local-east local", "unprivileged none", "writer writer"}) {
    const std::string text = user, name = text.substr(0, text.find(' ')), role = text.substr(text.find(' ') + 1);
    if (name != "remote-east") {
      script += "ctl role add " + role + "\n";
    }
    script += "ctl user add " + name + " --no-password\nctl user grant-role " + name + " " + role + "\n";
  }
  // The grants of Cilium's chart.
  script +=
      "read_range remote cilium/.heartbeat cilium/.heartbeau\n"
      "read_range remote cilium/state/ cilium/state0\n"
      "ctl role grant-permission remote read cilium/cluster-config/" +
      cluster +
      "\n"
      "read_range remote cilium/synced/" +
      cluster + "/ cilium/synced/" + cluster +
      "0\n"
      "read_range local cilium/.heartbeat cilium/.heartbeau\n"
      "read_range local cilium/cache/ cilium/cache0\n"
      "read_range local cilium/cluster-config/ cilium/cluster-config0\n"
      "read_range local cilium/synced/ cilium/synced0\n"
      "ctl role grant-permission writer readwrite cilium/state/isthmus/ cilium/state/isthmus0\n"
      "read_range none other/ other0\n"
      "ctl auth enable\n";
  return script;
}

}  // namespace

const TestPki& etcd_pki() {
  static const TestPki pki;
  return pki;
}

bool etcd_installed() {
  static const bool installed = std::system("command -v etcd >/dev/null && command -v etcdctl >/dev/null") == 0;
  return installed;
}

struct EtcdServer::Stub {
  explicit Stub(const std::shared_ptr<grpc::Channel>& channel)
      : kv(etcdserverpb::KV::NewStub(channel)), lease(etcdserverpb::Lease::NewStub(channel)) {}
  std::unique_ptr<etcdserverpb::KV::Stub> kv;
  std::unique_ptr<etcdserverpb::Lease::Stub> lease;
  // One blocking call.
  template <typename Service, typename Method, typename Request, typename Reply>
  static grpc::Status call(Service& service, Method method, const Request& request, Reply& reply,
                           std::chrono::seconds timeout = kTimeout) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    context.set_wait_for_ready(true);
    return (service.*method)(&context, request, &reply);
  }
  static void require(const grpc::Status& status) {
    if (!status.ok()) {
      throw std::runtime_error("etcd: " + status.error_message());
    }
  }
};

EtcdServer::EtcdServer(const Options& options) : options_(options) {
  if (!etcd_installed()) {
    return;  // the test skips itself
  }
  static int number = 0;
  folder_ = (program_folder() / ("server-" + std::to_string(++number))).string();
  port_ = free_port();
  peer_port_ = free_port();
  start_empty(options_.token);
}

EtcdServer::~EtcdServer() {
  stop();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

double EtcdServer::metric(const std::string& begin) const {
  const std::string pki = pki_folder().string();
  const std::string command = "curl -s --cacert " + pki + "/ca.crt --cert " + pki + "/root.crt --key " + pki +
                              "/root.key " + url() + "/metrics";
  FILE* page = popen(command.c_str(), "r");
  if (page == nullptr) {
    throw std::runtime_error("cannot run curl");
  }
  double sum = 0;
  char* line = nullptr;
  std::size_t room = 0;
  bool any = false;
  while (getline(&line, &room, page) > 0) {
    const std::string text = line;
    if (text.starts_with(begin)) {
      sum += std::stod(text.substr(text.rfind(' ')));
      any = true;
    }
  }
  std::free(line);
  if (pclose(page) != 0 || !any) {
    throw std::runtime_error("etcd has no metric that starts with " + begin);
  }
  return sum;
}

void EtcdServer::spawn() {
  const std::string client = url(), peer = "http://127.0.0.1:" + std::to_string(peer_port_);
  const std::string pki = pki_folder().string(), data = folder_, log = folder_ + ".log";
  const std::vector<std::string> words = {"etcd",
                                          "--name",
                                          "test",
                                          "--data-dir",
                                          data,
                                          "--listen-client-urls",
                                          client,
                                          "--advertise-client-urls",
                                          client,
                                          "--listen-peer-urls",
                                          peer,
                                          "--initial-advertise-peer-urls",
                                          peer,
                                          "--initial-cluster",
                                          "test=" + peer,
                                          "--initial-cluster-token",
                                          options_.token,
                                          "--cert-file",
                                          pki + "/server.crt",
                                          "--key-file",
                                          pki + "/server.key",
                                          "--client-cert-auth",
                                          "--trusted-ca-file",
                                          pki + "/ca.crt",
                                          "--heartbeat-interval",
                                          "20",
                                          "--election-timeout",
                                          "100",
                                          "--logger",
                                          "zap",
                                          "--log-level",
                                          "error"};
  std::vector<char*> argv;
  for (const std::string& word : words) {
    argv.push_back(const_cast<char*>(word.c_str()));
  }
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // do not outlive a crashed test
    if (getppid() != parent) {
      _exit(1);
    }
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(out, 1);
    dup2(out, 2);
    execvp("etcd", argv.data());
    _exit(127);
  }
}

void EtcdServer::connect() {
  std::ifstream cert(pki_folder() / "root.crt"), key(pki_folder() / "root.key");
  const std::string root_cert{std::istreambuf_iterator<char>(cert), {}},
      root_key{std::istreambuf_iterator<char>(key), {}};
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  stub_ = std::make_unique<Stub>(grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string(port_), grpc::SslCredentials({etcd_pki().ca(), root_key, root_cert}), args));
}

void EtcdServer::wait_until_ready() {
  connect();
  etcdserverpb::RangeRequest request;
  request.set_key("ready");
  etcdserverpb::RangeResponse reply;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::Range, request, reply));
}

void EtcdServer::start() {
  spawn();
  wait_until_ready();
}

void EtcdServer::start_empty(const std::string& token) {
  stop();
  options_.token = token;
  const fs::path prepared = program_folder() / ("prepared-" + options_.cluster + "-" + token);
  fs::remove_all(folder_);
  if (fs::exists(prepared)) {
    fs::copy(prepared, folder_, fs::copy_options::recursive);
    start();
    return;
  }
  start();
  const std::string script = (program_folder() / "roles.sh").string();
  write(script, role_script(url(), options_.cluster));
  if (std::system(("sh " + script + " 2>>" + folder_ + ".log").c_str()) != 0) {
    throw std::runtime_error("cannot set up the roles of the test etcd, see " + folder_ + ".log");
  }
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
  fs::copy(folder_, prepared, fs::copy_options::recursive);
  start();
}

void EtcdServer::stop() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  stub_.reset();
}

void EtcdServer::pause() { kill(pid_, SIGSTOP); }
void EtcdServer::resume() { kill(pid_, SIGCONT); }

void EtcdServer::put(const std::string& key, const std::string& value) const {
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  etcdserverpb::PutResponse reply;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::Put, request, reply));
}

void EtcdServer::put(const std::vector<std::pair<std::string, std::string>>& keys) const {
  for (const auto& [key, value] : keys) {
    put(key, value);
  }
}

void EtcdServer::remove(const std::string& key) const {
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(key);
  etcdserverpb::DeleteRangeResponse reply;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::DeleteRange, request, reply));
}

void EtcdServer::remove_prefix(const std::string& prefix) const {
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(prefix);
  std::string end = prefix;
  ++end.back();
  request.set_range_end(end);
  etcdserverpb::DeleteRangeResponse reply;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::DeleteRange, request, reply));
}

std::string EtcdServer::get(const std::string& key) const {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  etcdserverpb::RangeResponse reply;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::Range, request, reply));
  return reply.kvs_size() == 0 ? "" : reply.kvs(0).value();
}

std::int64_t EtcdServer::lease_of(const std::string& key) const {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  etcdserverpb::RangeResponse reply;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::Range, request, reply));
  return reply.kvs_size() == 0 ? 0 : reply.kvs(0).lease();
}

void EtcdServer::revoke(std::int64_t lease) const {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseRevokeResponse reply;
  Stub::require(Stub::call(*stub_->lease, &etcdserverpb::Lease::Stub::LeaseRevoke, request, reply));
}

void EtcdServer::compact() const {
  etcdserverpb::RangeRequest now;
  now.set_key("ready");
  etcdserverpb::RangeResponse at;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::Range, now, at));
  etcdserverpb::CompactionRequest request;
  request.set_revision(at.header().revision());
  request.set_physical(true);
  etcdserverpb::CompactionResponse reply;
  Stub::require(Stub::call(*stub_->kv, &etcdserverpb::KV::Stub::Compact, request, reply));
}

}  // namespace isthmus
