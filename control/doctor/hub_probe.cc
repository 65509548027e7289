#include "control/doctor/hub_probe.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "config/files/read_file.h"
#include "control/doctor/certificates.h"
#include "control/doctor/probe_kinds.h"
#include "control/source/etcd/client_config.h"
#include "control/source/file/hub_folder.h"
#include "control/source/kubernetes/access.h"

namespace isthmus {
namespace {

constexpr std::size_t kMostEtcds = 600;  // of a ClusterMesh of 511

struct Asking {
  HubFacts facts;  // without an answer yet
  std::function<HubFacts(HubFacts)> ask;
};

// What the threads share with who waits for them; the last of all ends it.
struct Answers {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::optional<HubFacts>> facts;
  std::size_t missing = 0;
};

HubFacts ask_folder(HubFacts facts) {
  const FolderListing root = list_folder(facts.where);
  if (root.error != 0) {
    facts.error = system_error("cannot be read", facts.where, "make the folder, or correct hub.file.path");
    facts.error->what = "cannot be read: " + std::string(std::strerror(root.error));
    return facts;
  }
  const FolderListing fleet = list_folder(facts.where + "/" + std::string(kFleetFolder));
  const FolderListing clusters = list_folder(facts.where + "/" + std::string(kClustersFolder));
  if (fleet.error != 0 && clusters.error != 0) {
    facts.error = Error{"has neither fleet/ nor clusters/: it may not be mounted", facts.where,
                        "put the manifests there: fleet/*.yaml and clusters/<cluster>/*.yaml"};
    return facts;
  }
  facts.said = std::to_string(fleet.manifests.size()) + " files of the fleet, " +
               std::to_string(clusters.folders.size()) + " clusters";
  return facts;
}

void add_etcd(std::vector<Asking>& all, const std::string& what, const std::string& path,
              const EtcdQuestion& question) {
  Asking asking;
  asking.facts.what = what;
  asking.facts.where = path;
  asking.ask = [path, question](HubFacts facts) { return ask_etcd(std::move(facts), path, question); };
  all.push_back(std::move(asking));
}

void add_server(std::vector<Asking>& all, const std::string& what, const std::string& access, bool of_cluster) {
  Asking asking;
  asking.facts.what = what;
  asking.facts.where = access;
  asking.ask = [access, of_cluster](HubFacts facts) { return ask_api_server(std::move(facts), access, of_cluster); };
  all.push_back(std::move(asking));
}

std::vector<Asking> hubs_of(const GatewayConfig& config) {
  std::vector<Asking> all;
  if (config.hub_file) {
    Asking asking;
    asking.facts.what = "folder";
    asking.facts.where = *config.hub_file;
    asking.ask = ask_folder;
    all.push_back(std::move(asking));
  }
  if (config.etcd.clusters) {
    const auto names = etcd_configurations(*config.etcd.clusters);
    for (std::size_t i = 0; i < std::min(names.size(), kMostEtcds); ++i) {
      add_etcd(all, "etcd of " + names[i], *config.etcd.clusters + "/" + names[i], {names[i]});
    }
    if (names.empty()) {
      Asking asking;
      asking.facts.what = "ClusterMesh";
      asking.facts.where = *config.etcd.clusters;
      asking.ask = [](HubFacts facts) {
        facts.error = Error{"no etcd client configuration is in the folder, or it cannot be read", facts.where,
                            "mount the Secret that Cilium's agents have (cilium-clustermesh), or correct "
                            "hub.etcd.clusters"};
        return facts;
      };
      all.push_back(std::move(asking));
    }
  }
  if (config.etcd.kvstoremesh) {
    add_etcd(all, "KVStoreMesh", *config.etcd.kvstoremesh, {});
  }
  if (config.etcd.register_at) {
    add_etcd(all, "etcd for registration", *config.etcd.register_at, {.registration = true});
  }
  if (config.kubernetes.cluster) {
    add_server(all, "API server", *config.kubernetes.cluster, true);
  }
  if (config.kubernetes.fleet) {
    add_server(all, "API server of the fleet", *config.kubernetes.fleet, false);
  }
  return all;
}

}  // namespace

HubProbes probe_hubs(const GatewayConfig& config, std::chrono::milliseconds deadline) {
  std::vector<Asking> all = hubs_of(config);
  const auto answers = std::make_shared<Answers>();
  answers->facts.resize(all.size());
  answers->missing = all.size();
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::thread([answers, i, asking = all[i]] {
      HubFacts facts = asking.ask(asking.facts);
      const std::lock_guard lock(answers->mutex);
      answers->facts[i] = std::move(facts);
      --answers->missing;
      answers->changed.notify_all();
    }).detach();
  }
  HubProbes probes;
  std::unique_lock lock(answers->mutex);
  answers->changed.wait_for(lock, deadline, [&] { return answers->missing == 0; });
  probes.unfinished = answers->missing != 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (answers->facts[i]) {
      probes.hubs.push_back(*answers->facts[i]);
      continue;
    }
    probes.hubs.push_back(all[i].facts);
    probes.hubs.back().error = Error{"has not answered within " + std::to_string(deadline.count() / 1000) + " s",
                                     all[i].facts.where, "see whether this machine reaches it, and resolves its name"};
  }
  return probes;
}

}  // namespace isthmus
