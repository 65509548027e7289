#include "control/sink/dns.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "config/files/read_file.h"

namespace isthmus {
namespace {

std::string render(const std::vector<ServiceView>& services, const std::string& domain) {
  std::string text = "# Global services of the fleet. Written by isthmus; changes made here are lost.\n";
  for (const ServiceView& service : services) {
    for (const IpAddress& vip : service.vips) {
      text += vip.to_string() + " " + service.name.name + "." + service.name.ns + ".svc." + domain + "\n";
    }
  }
  return text;
}

Error failure(const std::string& what, const std::string& path) {
  return {what + ": " + std::strerror(errno), path, "check dns.file and that its folder can be written"};
}

Error not_regular(const std::string& path) {
  return {"the DNS records would replace something that is no regular file", path,
          "give dns.file a path of its own, or remove what is there"};
}

// Nothing, where there is nothing or a regular file.
std::optional<Error> in_the_way(const std::string& path) {
  struct stat there {};
  return lstat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode) ? std::optional(not_regular(path)) : std::nullopt;
}

// The folder may be one that others can write into: no link there is followed.
Status write_whole(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0644);
  if (fd < 0) {
    return errno == ELOOP || errno == ENXIO ? not_regular(path) : failure("cannot write DNS records", path);
  }
  struct stat opened {};
  if (fstat(fd, &opened) != 0 || !S_ISREG(opened.st_mode)) {
    close(fd);
    return not_regular(path);
  }
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) {
      const Error error = failure("cannot write DNS records", path);
      close(fd);
      return error;
    }
    done += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  // The DNS server may run as another user, whatever our umask.
  const bool mode_set = fchmod(fd, 0644) == 0;
  if (close(fd) != 0 || !mode_set) {
    return failure("cannot write DNS records", path);
  }
  return Ok{};
}

}  // namespace

DnsSink::DnsSink(std::string file, std::string domain) : file_(std::move(file)), domain_(std::move(domain)) {}

Result<bool> DnsSink::update(const std::vector<ServiceView>& services) {
  std::string text = render(services, domain_);
  if (!synced_) {
    written_ = read_regular_file(file_, kMaxManifestBytes).text;  // empty where there is none: it is written anew
  }
  if (text == written_) {
    synced_ = true;
    return false;
  }
  synced_ = false;
  if (auto error = in_the_way(file_)) {
    return *error;
  }
  const std::filesystem::path path(file_);
  std::error_code ignored;  // a folder that cannot be created makes opening the file fail
  std::filesystem::create_directories(path.parent_path(), ignored);
  // DNS servers that watch the folder ignore names with a leading dot.
  const std::string temporary = (path.parent_path() / ("." + path.filename().string() + ".new")).string();
  if (const Status status = write_whole(temporary, text); !status) {
    if (!in_the_way(temporary)) {
      unlink(temporary.c_str());  // a part of it may have filled the device
    }
    return status.error();
  }
  if (rename(temporary.c_str(), file_.c_str()) != 0) {
    const Error error = failure("cannot replace the DNS records", file_);
    unlink(temporary.c_str());
    return error;
  }
  written_ = std::move(text);
  synced_ = true;
  return true;
}

}  // namespace isthmus
