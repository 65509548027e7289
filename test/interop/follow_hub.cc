// Follows the API server of a kubeconfig and prints what comes, a line a change, until its standard input ends:
//   follow-hub KUBECONFIG           a Fleet hub
//   follow-hub KUBECONFIG CLUSTER   a cluster's own server
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "control/source/kubernetes/fleet_hub_source.h"
#include "control/source/kubernetes/kubernetes_source.h"

namespace {

using namespace isthmus;

std::unique_ptr<Source> make_source(int argc, char** argv) {
  if (argc > 2) {
    KubernetesSourceOptions options;
    options.server.kubeconfig = argv[1];
    options.cluster = argv[2];
    return std::make_unique<KubernetesSource>(options);
  }
  FleetHubSourceOptions options;
  options.server.kubeconfig = argv[1];
  return std::make_unique<FleetHubSource>(options);
}

void print(const ObjectDelta& delta) {
  const ObjectKey& key = delta.key;
  std::printf("%c %s %s %s/%s\n", delta.value ? '+' : '-', kind_text(key.kind), key.cluster.c_str(),
              key.name_space.c_str(), key.name.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("follow-hub KUBECONFIG [CLUSTER]\n", stderr);
    return 2;
  }
  const auto source = make_source(argc, argv);
  if (const auto started = source->start(); !started) {
    std::fprintf(stderr, "%s\n", started.error().text().c_str());
    return 1;
  }
  bool synced = false;
  while (true) {
    pollfd wanted[2] = {{source->fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    ::poll(wanted, 2, 1000);
    char ignored[64];
    if (wanted[1].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) {
      return 0;
    }
    for (const ObjectDelta& delta : source->poll()) {
      print(delta);
    }
    if (!synced && source->synced()) {
      synced = true;
      std::puts("synced");
    }
    std::fflush(stdout);
  }
}
