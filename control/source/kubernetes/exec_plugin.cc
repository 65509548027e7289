#include "control/source/kubernetes/exec_plugin.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isthmus {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

constexpr std::size_t kMaxOutputBytes = 1 << 20;
constexpr auto kReapInterval = std::chrono::milliseconds(10);

// Our environment, the plugin's additions, and the variable that the protocol defines.
std::vector<std::string> environment_of(const ExecPlugin& plugin) {
  std::map<std::string, std::string> values;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view entry = *at;
    const auto equals = entry.find('=');
    if (equals != std::string_view::npos) {
      values.emplace(entry.substr(0, equals), entry.substr(equals + 1));
    }
  }
  for (const auto& [name, value] : plugin.env) {
    values[name] = value;
  }
  values["KUBERNETES_EXEC_INFO"] =
      R"({"apiVersion":")" + plugin.api_version + R"(","kind":"ExecCredential","spec":{"interactive":false}})";
  std::vector<std::string> out;
  for (const auto& [name, value] : values) {
    out.push_back(name + "=" + value);
  }
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) {
    out.push_back(text.data());
  }
  out.push_back(nullptr);
  return out;
}

// Starts the program with its standard output in a pipe. Sets `child` and our end of the pipe, `output`. Returns 0 or
// an errno.
int spawn(const ExecPlugin& plugin, pid_t& child, int& output) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return errno;
  }
  std::vector<std::string> words{plugin.command};
  words.insert(words.end(), plugin.args.begin(), plugin.args.end());
  std::vector<std::string> environment = environment_of(plugin);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const int error = posix_spawnp(&child, plugin.command.c_str(), &actions, &attributes, pointers(words).data(),
                                 pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return error;
  }
  output = ends[0];
  return 0;
}

}  // namespace

struct ExecRun::State : std::enable_shared_from_this<State> {
  State(asio::io_context& io, const ExecPlugin& plugin, Done finished)
      : pipe(io),
        timeout(io),
        pause(io),
        hint(plugin.install_hint),
        command(plugin.command),
        done(std::move(finished)) {}

  void start(const ExecPlugin& plugin, std::chrono::milliseconds time) {
    int reading_end = -1;
    const int error = spawn(plugin, child, reading_end);
    if (error != 0) {
      child = -1;
      finish(failure(std::string("cannot be started: ") + std::strerror(error)));
      return;
    }
    ErrorCode ignored;
    pipe.assign(reading_end, ignored);
    timeout.expires_after(time);
    timeout.async_wait([self = shared_from_this()](ErrorCode stopped) {
      if (!stopped) {
        self->finish(self->failure("did not finish in time"));
      }
    });
    read();
  }

  void read() {
    pipe.async_read_some(asio::buffer(buffer), [self = shared_from_this()](ErrorCode error, std::size_t bytes) {
      self->output.append(self->buffer.data(), bytes);
      if (self->done && self->output.size() > kMaxOutputBytes) {
        self->finish(self->failure("prints more than 1 MiB"));
      } else if (self->done && error) {
        self->reap();
      } else if (self->done) {
        self->read();
      }
    });
  }

  void reap() {
    int status = 0;
    const pid_t waited = waitpid(child, &status, WNOHANG);
    if (waited == 0) {
      pause.expires_after(kReapInterval);
      pause.async_wait([self = shared_from_this()](ErrorCode stopped) {
        if (!stopped && self->done) {
          self->reap();
        }
      });
      return;
    }
    child = -1;
    if (waited < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      finish(failure(WIFEXITED(status) ? "exited with status " + std::to_string(WEXITSTATUS(status)) : "was killed"));
      return;
    }
    auto credential = read_exec_credential(output);
    finish(credential ? std::move(credential) : Result<ExecCredential>(failure(credential.error().what)));
  }

  [[nodiscard]] Error failure(const std::string& what) const {
    return {"the credential program " + what, command, hint.empty() ? "run it by hand to see why" : hint};
  }

  void finish(Result<ExecCredential> result) {
    stop();
    if (const Done finished = std::exchange(done, nullptr)) {
      finished(std::move(result));
    }
  }

  void stop() {
    ErrorCode ignored;
    timeout.cancel(ignored);
    pause.cancel(ignored);
    pipe.close(ignored);
    if (child > 0) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
      child = -1;
    }
  }

  asio::posix::stream_descriptor pipe;
  asio::steady_timer timeout, pause;
  std::string hint, command, output;
  std::array<char, 4096> buffer{};
  Done done;
  pid_t child = -1;
};

ExecRun::ExecRun(asio::io_context& io, const ExecPlugin& plugin, std::chrono::milliseconds timeout, Done done)
    : state_(std::make_shared<State>(io, plugin, std::move(done))) {
  asio::post(io, [state = state_, plugin, timeout] {
    if (state->done) {
      state->start(plugin, timeout);
    }
  });
}

ExecRun::~ExecRun() {
  state_->done = nullptr;
  state_->stop();
}

}  // namespace isthmus
