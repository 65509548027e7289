#include "control/admin/server.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "control/admin/replies.h"
#include "control/loop/unix_address.h"

namespace isthmus {
namespace {

// Fails for what must not be replaced: a socket that a process listens on, or a file that is no socket.
Status check_replaceable(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Status(Ok{}) : Status(socket_error("cannot examine the admin socket", path));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Error{"there is a file at the path of the admin socket that is not a socket", path,
                 "move it away or choose another admin.socket"};
  }
  auto address = unix_address(path);
  if (!address) {
    return address.error();
  }
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) {
    return socket_error("cannot create a socket", path);
  }
  const bool answered = ::connect(probe, as_sockaddr(*address), sizeof *address) == 0 || errno == EAGAIN;
  ::close(probe);
  if (answered) {
    return Error{"another process already serves this admin socket", path,
                 "stop that gateway first, or give this one another name or admin.socket"};
  }
  return Ok{};
}

Result<gid_t> group_id(const std::string& name) {
  std::array<char, 16384> buffer{};
  group entry{};
  group* found = nullptr;
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return Error{"there is no group '" + name + "' on this machine", "admin.group",
                 "create it (groupadd --system " + name + ") or name another"};
  }
  return found->gr_gid;
}

// Binds under a temporary name, so that the socket appears with its final owner and mode.
Result<int> bind_private(const std::string& path, const std::string& temporary, gid_t group) {
  auto address = unix_address(temporary);
  if (!address) {
    return address.error();
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return socket_error("cannot create a socket", path);
  }
  ::unlink(temporary.c_str());
  // Root may use any socket; only root can give one to root's group.
  const bool shared = group != 0 || ::geteuid() == 0;
  const bool done = ::fchmod(fd, 0600) == 0 && ::bind(fd, as_sockaddr(*address), sizeof *address) == 0 &&
                    (!shared || (::chown(temporary.c_str(), static_cast<uid_t>(-1), group) == 0 &&
                                 ::chmod(temporary.c_str(), 0660) == 0)) &&
                    ::listen(fd, 64) == 0 && ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!done) {
    Error error =
        socket_error("cannot create the admin socket", path,
                     "run as root; or choose a folder that this user may write to, and an admin.group that it "
                     "is a member of");
    ::close(fd);
    ::unlink(temporary.c_str());
    return error;
  }
  return fd;
}

Status check_path(const AdminOptions& options, const std::string& temporary) {
  std::error_code failed;
  const auto folder = std::filesystem::path(options.path).parent_path();
  if (!folder.empty() && !std::filesystem::create_directories(folder, failed) && failed) {
    return Error{"cannot create the folder of the admin socket: " + failed.message(), folder.string(),
                 "run as root, or choose another admin.socket"};
  }
  if (auto usable = unix_address(temporary); !usable) {
    return usable.error();
  }
  return check_replaceable(options.path);
}

std::string refusal(std::string what) {
  return encode_error(Error{std::move(what), "", "send one JSON object per line"}) + "\n";
}

// Lines in, lines out.
class AdminProtocol final : public StreamProtocol {
 public:
  AdminProtocol(const AdminOptions& options, std::shared_ptr<const AdminServer::Handler> handler)
      : limits_(options.limits), max_reply_(options.max_reply), handler_(std::move(handler)) {}

  [[nodiscard]] std::optional<StreamAnswer> next(std::string& in, bool ended) override {
    const auto end = in.find('\n');
    std::string line;
    if (end != std::string::npos) {
      line = in.substr(0, end);
      in.erase(0, end + 1);
    } else if (in.size() >= limits_.request) {
      in.clear();
      return StreamAnswer{refusal("the request has more than " + std::to_string(limits_.request) + " bytes"), {}, true};
    } else if (ended && !in.empty()) {
      line = std::exchange(in, {});
    } else {
      return std::nullopt;
    }
    return answer((*handler_)(line));
  }

  [[nodiscard]] std::string too_slow() const override {
    return refusal("the request had no line end after " + std::to_string(limits_.request_time.count()) + " ms");
  }

 private:
  [[nodiscard]] static std::string whole_line(std::string line, std::size_t max) {
    if (line.size() > max) {
      line = encode_error(Error{"the reply would have " + std::to_string(line.size()) + " bytes", "",
                                "narrow the request with a filter or a limit"});
    }
    return line + '\n';
  }

  [[nodiscard]] StreamAnswer answer(AdminAnswer reply) const {
    if (reply.awaited) {
      return awaited_answer(std::move(reply.awaited),
                            [max = max_reply_](const std::string& line) { return whole_line(line, max); });
    }
    StreamAnswer answer{whole_line(std::move(reply.line), max_reply_)};
    if (reply.feed) {
      answer.feed = [feed = std::move(reply.feed), over = false]() mutable -> std::optional<std::string> {
        if (over) {
          return std::nullopt;
        }
        auto lines = feed();
        over = !lines;
        return over ? "{\"end\":true}\n" : std::move(lines);
      };
    }
    return answer;
  }

  const StreamLimits limits_;
  const std::size_t max_reply_;
  const std::shared_ptr<const AdminServer::Handler> handler_;
};

}  // namespace

Result<std::unique_ptr<AdminServer>> AdminServer::listen(EventLoop& loop, const AdminOptions& options, Handler handler,
                                                         StreamServer::OnProblem on_problem) {
  const std::string temporary = options.path + "." + std::to_string(::getpid());
  if (auto usable = check_path(options, temporary); !usable) {
    return usable.error();
  }
  const auto group = group_id(options.group);
  if (!group) {
    return group.error();
  }
  const auto listener = bind_private(options.path, temporary, *group);
  if (!listener) {
    return listener.error();
  }
  std::unique_ptr<AdminServer> admin(new AdminServer(options.path));
  struct stat info {};
  if (::lstat(options.path.c_str(), &info) == 0) {
    admin->device_ = info.st_dev;
    admin->inode_ = info.st_ino;
  }
  const auto shared = std::make_shared<const Handler>(std::move(handler));
  auto server = StreamServer::serve(
      loop, *listener, options.path, options.limits,
      [options, shared] { return std::make_unique<AdminProtocol>(options, shared); }, std::move(on_problem));
  if (!server) {
    return server.error();
  }
  admin->server_ = std::move(*server);
  return admin;
}

AdminServer::~AdminServer() {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

}  // namespace isthmus
