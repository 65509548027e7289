// Watches the API server of a kubeconfig and prints one line per change, until end of file on standard input:
//   follow-hub KUBECONFIG           a Fleet hub
//   follow-hub KUBECONFIG CLUSTER   a cluster's own API server; also prints the changes to the tables of gateway
//                                   CLUSTER-1
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "control/compile/compiler.h"
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
  std::printf("%c %s %s %s/%s\n", delta.value ? '+' : '-', kind_text(key.kind), key.cluster.c_str(), key.ns.c_str(),
              key.name.c_str());
}

// Compiles the objects into the engine's endpoints, frontends and policies.
class Tables {
 public:
  explicit Tables(const std::string& cluster)
      : compiler_(options(cluster), model_, [](const IpAddress&) { return AdjacencyId{1}; }) {}

  void apply(const ObjectDelta& delta) { model_.apply(0, delta); }
  void print_changes() {
    const CompileResult result = compiler_.compile(model_.take_changes());
    for (const IpAddress& address : result.remove) {
      std::printf("- endpoint %s\n", address.to_string().c_str());
    }
    for (const EndpointEntry& entry : result.upsert) {
      std::printf("+ endpoint %s\n", entry.address.to_string().c_str());
    }
    for (const FrontendKey& key : result.delta.remove_frontends) {
      std::printf("- frontend %s\n", text_of(key).c_str());
    }
    for (const FrontendEntry& frontend : result.delta.upsert_frontends) {
      std::printf("+ frontend %s\n", text_of(frontend.key).c_str());
    }
    for (const Identity subject : result.delta.remove_policies) {
      std::printf("- policy %u\n", subject.value());
    }
    for (const auto& policy : result.delta.upsert_policies) {
      std::printf("+ policy %u\n", policy->subject.value());
    }
  }

 private:
  static CompilerOptions options(const std::string& cluster) {
    CompilerOptions options;
    options.cluster = cluster;
    options.gateway = cluster + "-1";
    options.ring_slots = 251;
    options.admission.vip_pools = {Prefix::parse("10.200.0.0/24").value()};
    return options;
  }
  static std::string text_of(const FrontendKey& key) {
    return key.vip.to_string() + " " + std::to_string(key.port.value());
  }

  Model model_;
  Compiler compiler_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: follow-hub KUBECONFIG [CLUSTER]\n", stderr);
    return 2;
  }
  const auto source = make_source(argc, argv);
  if (const auto started = source->start(); !started) {
    std::fprintf(stderr, "%s\n", started.error().text().c_str());
    return 1;
  }
  const auto tables = argc > 2 ? std::make_unique<Tables>(argv[2]) : nullptr;
  bool synced = false;
  while (true) {
    pollfd fds[2] = {{source->fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    ::poll(fds, 2, 1000);
    char ignored[64];
    if (fds[1].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) {
      return 0;
    }
    for (const ObjectDelta& delta : source->poll()) {
      print(delta);
      if (tables != nullptr) {
        tables->apply(delta);
      }
    }
    if (tables != nullptr) {
      tables->print_changes();
    }
    if (!synced && source->synced()) {
      synced = true;
      std::puts("synced");
    }
    std::fflush(stdout);
  }
}
