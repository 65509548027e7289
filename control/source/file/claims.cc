#include "control/source/file/claims.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/file/hub_folder.h"
#include "control/source/file/hub_objects.h"
#include "control/source/file/vip_claims.h"

namespace isthmus {
namespace {

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = write(fd, text.data(), text.size());
    if (put < 0 && errno != EINTR) {
      return false;
    }
    text.remove_prefix(put > 0 ? static_cast<std::size_t>(put) : 0);
  }
  return true;
}

// Lock file of the hub, held while a claim is searched for and written. The destructor removes it.
class HubLock {
 public:
  explicit HubLock(const std::string& hub) : path_(hub + "/.allocate.lock") {}
  ~HubLock() {
    if (held_) {
      unlink(path_.c_str());
    }
  }
  HubLock(const HubLock&) = delete;
  HubLock& operator=(const HubLock&) = delete;

  [[nodiscard]] Status acquire(std::chrono::milliseconds timeout) {
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (true) {
      const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      if (fd >= 0) {
        held_ = true;
        const bool written = write_all(fd, "process " + std::to_string(getpid()) + "\n");
        const int why = errno;
        close(fd);
        errno = why;
        return written ? Status(Ok{}) : system_error("cannot lock the hub", path_, "free disk space");
      }
      if (errno != EEXIST) {
        return system_error("cannot lock the hub", path_, "run as a user who may write to the hub's folder");
      }
      if (std::chrono::steady_clock::now() >= end) {
        std::string holder = read_file_text(path_).text;
        holder.erase(std::find(holder.begin(), holder.end(), '\n'), holder.end());
        return Error{"the hub is locked by " + (holder.empty() ? std::string("another allocation") : holder), path_,
                     "wait for it to finish; if no such process runs, remove the file"};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

 private:
  std::string path_;
  bool held_ = false;
};

Status read_folder(const std::string& path, const std::string& cluster, HubObjects& objects) {
  const FolderListing listing = list_folder(path);
  if (listing.error != 0) {
    return Error{std::string("cannot read the folder: ") + std::strerror(listing.error), path,
                 "name the hub's folder, with fleet/ and clusters/ in it"};
  }
  for (const std::string& name : listing.manifests) {
    const std::string file_path = path + "/" + name;
    const FileText file = read_file_text(file_path);
    if (file.outcome == FileText::Outcome::kFailed) {
      return Error{"cannot read the file: " + file.why, file_path, file.fix + ", or delete it: it may contain claims"};
    }
    if (file.outcome == FileText::Outcome::kRead) {
      objects.set_text(file_path, cluster, file.text);
    }
  }
  return Ok{};
}

Result<ClaimView> read_hub(const ClaimRequest& request) {
  HubObjects objects;
  const std::string clusters = request.hub + "/" + std::string(kClustersFolder);
  if (auto read = read_folder(request.hub + "/" + std::string(kFleetFolder), "", objects); !read) {
    return read.error();
  }
  const FolderListing listing = list_folder(clusters);
  if (listing.error != 0) {
    return Error{std::string("cannot read the folder: ") + std::strerror(listing.error), clusters,
                 "name the hub's folder, with fleet/ and clusters/ in it"};
  }
  ClaimView view;
  for (const std::string& cluster : listing.folders) {
    if (auto read = read_folder(clusters + "/" + cluster, cluster, objects); !read) {
      return read.error();
    }
    view.cluster_known = view.cluster_known || cluster == request.cluster;
  }
  for (const ObjectDelta& delta : objects.take_deltas()) {
    collect_claims(delta, request, view);
  }
  const auto hidden = objects.problems_hiding(
      {ObjectKind::kCluster, ObjectKind::kGateway, ObjectKind::kService, ObjectKind::kServiceImport});
  if (!hidden.empty()) {
    return Error{hidden.front().what + "; it may contain a claim or an address in use",
                 hidden.front().provenance.text(), hidden.front().fix};
  }
  return view;
}

std::string_view protocol_name(IpProtocol protocol) {
  return protocol == IpProtocol::kUdp ? "UDP" : (protocol == IpProtocol::kSctp ? "SCTP" : "TCP");
}

std::string claim_text(const ClaimRequest& request, const std::vector<IpAddress>& addresses, const ClaimView& view) {
  std::array<char, 32> now{};
  const std::time_t seconds = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::strftime(now.data(), now.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  std::string text =
      "# The VIP of this Service, allocated by isthmus allocate. A claim never moves; delete the file to release it.\n"
      "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceImport\nmetadata:\n  name: \"" +
      request.name + "\"\n  namespace: \"" + request.ns + "\"\n  creationTimestamp: \"" + now.data() +
      "\"\nspec:\n  type: ClusterSetIP\n  ips:\n";
  for (const IpAddress& address : addresses) {
    text += "  - \"" + address.to_string() + "\"\n";
  }
  if (!view.service || view.service->ports.empty()) {
    return text + "  ports: []\n";
  }
  text += "  ports:\n";
  for (const ServicePort& port : view.service->ports) {
    text += "  - port: " + std::to_string(port.port.value()) +
            "\n    protocol: " + std::string(protocol_name(port.protocol)) + "\n";
    text += port.name.empty() ? "" : "    name: \"" + port.name + "\"\n";
  }
  return text;
}

// serviceimport-<namespace>-<name>.yaml, or with a dot between the two where
// another service has that name already (a-b/c and a/b-c).
Result<std::string> free_name(const std::string& folder, const ClaimRequest& request) {
  for (const char* separator : {"-", "."}) {
    const std::string name = "serviceimport-" + request.ns + separator + request.name + ".yaml";
    struct stat s {};
    if (lstat((folder + "/" + name).c_str(), &s) != 0) {
      return name;
    }
  }
  return Error{"files with the claim's name exist already, but do not contain the claim",
               folder + "/serviceimport-" + request.ns + "-" + request.name + ".yaml", "move or delete them"};
}

// Makes the names in a folder outlive a crash of the machine.
Status sync_folder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // EINVAL: the file system syncs no folders by themselves.
  const bool synced = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
  const int why = errno;
  if (fd >= 0) {
    close(fd);
  }
  errno = why;
  return synced ? Status(Ok{})
                : system_error("the claim may be lost if the machine crashes now", folder,
                               "check the file system, then allocate again: the claim is found and returned");
}

// Writes the file atomically. A claim never moves, so it is on the disk before anybody learns of it.
Status write_claim(const std::string& folder, const std::string& name, const std::string& text) {
  const bool new_folder = mkdir(folder.c_str(), 0755) == 0;
  if (!new_folder && errno != EEXIST) {
    return system_error("cannot create the cluster's folder", folder,
                        "run as a user who may write to the hub's folder");
  }
  const std::string path = folder + "/" + name;
  const std::string temporary = folder + "/." + name + ".tmp";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd < 0) {
    return system_error("cannot write the claim", temporary, "run as a user who may write to the hub's folder");
  }
  const bool written = write_all(fd, text) && fsync(fd) == 0;
  const int why = errno;
  close(fd);
  errno = why;
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) {
    const Error error =
        system_error("cannot write the claim", path, "free disk space, and run as a user who may write to it");
    unlink(temporary.c_str());
    return error;
  }
  if (new_folder) {
    if (auto synced = sync_folder(folder.substr(0, folder.rfind('/'))); !synced) {
      return synced;
    }
  }
  return sync_folder(folder);
}

}  // namespace

Result<Claim> allocate_vip(const ClaimRequest& request) {
  if (auto valid = check_request(request); !valid) {
    return valid.error();
  }
  if (request.cluster.empty()) {
    return Error{"no cluster is given", {}, "name a cluster of the hub"};
  }
  HubLock lock(request.hub);
  if (auto locked = lock.acquire(request.lock_timeout); !locked) {
    return locked.error();
  }
  const auto view = read_hub(request);
  if (!view) {
    return view.error();
  }
  if (!view->cluster_known) {
    return Error{"the hub has no cluster " + request.cluster, request.hub, "name a cluster of the hub"};
  }
  const auto existing = existing_claim(request, *view);
  if (!existing) {
    return existing.error();
  }
  if (*existing) {
    return Claim{(*existing)->addresses, (*existing)->provenance.location, false, view->service.has_value()};
  }
  if (auto valid = check_pools(request, *view); !valid) {
    return valid.error();
  }
  auto addresses = take_addresses(request, *view);
  if (!addresses) {
    return addresses.error();
  }
  Claim claim{*std::move(addresses), {}, true, view->service.has_value()};
  const std::string folder = request.hub + "/" + std::string(kClustersFolder) + "/" + request.cluster;
  const auto name = free_name(folder, request);
  if (!name) {
    return name.error();
  }
  if (auto written = write_claim(folder, *name, claim_text(request, claim.addresses, *view)); !written) {
    return written.error();
  }
  claim.file = folder + "/" + *name;
  return claim;
}

}  // namespace isthmus
