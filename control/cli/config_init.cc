// `isthmus config init`.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "config/load/load.h"
#include "control/cli/exit_code.h"
#include "control/cli/local_commands.h"
#include "control/machine/first_config.h"
#include "control/machine/machine.h"

namespace isthmus {
namespace {

constexpr mode_t kConfigMode = 0644;

Error cannot_write(const std::string& file) {
  return {std::string("cannot be written: ") + std::strerror(errno), file, "write it to stdout with --output -"};
}

bool write_all(int fd, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = ::write(fd, text.data() + done, text.size() - done);
    if (written < 0 && errno != EINTR) {
      return false;
    }
    done += written < 0 ? 0 : static_cast<std::size_t>(written);
  }
  return true;
}

// Whole or not at all, under a name of its own until then; never over a file that is there, unless `force`.
Status write_config(const std::string& file, const std::string& text, bool force) {
  const Error there{"there is such a file already", file,
                    "choose another one with --output, or replace it with --force"};
  struct stat status {};
  if (!force && lstat(file.c_str(), &status) == 0) {
    return there;
  }
  std::error_code error;
  if (const auto folder = std::filesystem::path(file).parent_path(); !folder.empty()) {
    std::filesystem::create_directories(folder, error);
  }
  std::string own = file + ".XXXXXX";
  const int fd = mkostemp(own.data(), O_CLOEXEC);
  if (fd < 0) {
    return cannot_write(file);
  }
  const bool written = write_all(fd, text) && fchmod(fd, kConfigMode) == 0 && fsync(fd) == 0;
  Status result = written ? Status(Ok{}) : Status(cannot_write(file));
  close(fd);
  if (written && (force ? rename(own.c_str(), file.c_str()) : link(own.c_str(), file.c_str())) != 0) {
    result = errno == EEXIST ? there : cannot_write(file);
  }
  if (!force || !result) {
    unlink(own.c_str());
  }
  return result;
}

}  // namespace

int config_init_command(const ConfigInitOptions& options) {
  const auto machine = read_machine();
  if (!machine) {
    complain(machine.error());
    return kExitFailure;
  }
  const auto lines = first_config(*machine, options.choices);
  if (!lines) {
    complain(lines.error());
    return kExitUsage;
  }
  const std::string text = config_text(first_config_header(*machine), *lines);
  const auto needed = std::count_if(lines->begin(), lines->end(),
                                    [](const ConfigLine& line) { return line.kind == ConfigLine::Kind::kNeeded; });
  const auto errors = check_config(text, options.output);
  if (errors.size() > static_cast<std::size_t>(needed)) {  // what was given cannot be used
    std::for_each(errors.begin(), errors.end(), complain);
    return kExitUsage;
  }
  if (options.output == "-") {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
      return kExitFailure;
    }
  } else if (const Status written = write_config(options.output, text, options.force); !written) {
    complain(written.error());
    return kExitFailure;
  } else {
    std::fprintf(stderr, "isthmus: written to %s\n", options.output.c_str());
  }
  for (const ConfigLine& line : *lines) {
    if (line.kind == ConfigLine::Kind::kNeeded) {
      std::fprintf(stderr, "isthmus: %s is %s\n", line.key.c_str(), line.why.c_str());
    }
  }
  return kExitOk;
}

}  // namespace isthmus
