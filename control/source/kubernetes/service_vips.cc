#include "control/source/kubernetes/service_vips.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/kubernetes/api_connection.h"
#include "control/source/kubernetes/api_text.h"
#include "control/source/kubernetes/credentials.h"
#include "control/source/manifest/manifest.h"

namespace isthmus {
namespace {

using nlohmann::json;

constexpr unsigned kAttempts = 20;  // addresses or writes lost to others
constexpr std::size_t kMaxBytes = 256U << 20;

struct Answer {
  unsigned status = 0;
  std::string body;
};

// One request after the other, each waited for.
class Server {
 public:
  Server(const ApiAccess& access, const ApiTimes& times)
      : access_(access), times_(times), credentials_(io_, access_, times_), connection_(io_, access_, times_) {}

  [[nodiscard]] Result<Answer> ask(const ApiRequest& request) {
    std::optional<Result<Answer>> result;
    credentials_.get([&](Result<Credentials::Identity> identity) {
      if (!identity) {
        result = identity.error();
        return;
      }
      auto answer = std::make_shared<Answer>();
      connection_.send(*identity, request,
                       {[answer](const ApiHead& head) { answer->status = head.status; },
                        [answer](std::string_view bytes) {
                          answer->body.append(bytes.substr(0, kMaxBytes - std::min(kMaxBytes, answer->body.size())));
                        },
                        [&result, answer, this](const ApiOutcome& end) {
                          result = end.complete ? Result<Answer>(std::move(*answer))
                                                : Result<Answer>(Error{end.error, access_.server,
                                                                       "see that the API server can be reached"});
                        }});
    });
    while (!result) {
      io_.restart();
      if (io_.run_one() == 0) {
        return Error{"the API server gave no answer", access_.server, "try again"};
      }
    }
    return *std::move(result);
  }

  // What the server refuses, as a person is told. `right`: what the request needs.
  [[nodiscard]] Error refusal(const Answer& answer, const std::string& path, const std::string& right) const {
    const std::string said = "HTTP " + std::to_string(answer.status) + ": " + status_message(answer.body);
    return {said, access_.server + path,
            answer.status == 403   ? "grant " + right + " to the user of this kubeconfig"
            : answer.status == 401 ? "renew the credentials of this kubeconfig"
                                   : "see what the API server says"};
  }

  // Calls visit(object) for all of a kind. `optional`: where there is no such kind (404), there are none.
  template <typename Visit>
  [[nodiscard]] Status list(const std::string& path, const std::string& right, bool optional, Visit&& visit) {
    std::string next;
    do {
      ApiRequest request;
      request.target = path + "?limit=500" + (next.empty() ? "" : "&continue=" + percent_encoded(next));
      auto answer = ask(request);
      if (!answer) {
        return answer.error();
      }
      if (answer->status == 404 && optional) {
        return Ok{};
      }
      if (answer->status != 200) {
        return refusal(*answer, path, "list on " + right);
      }
      const auto page = read_list_page(answer->body);
      if (!page) {
        return page.error();
      }
      for (const YamlNode& object : page->items()) {
        visit(object);
      }
      next = page->next;
    } while (!next.empty());
    return Ok{};
  }

 private:
  boost::asio::io_context io_{1};
  const ApiAccess& access_;
  const ApiTimes& times_;
  Credentials credentials_;
  ApiConnection connection_;
};

struct ListedService {
  std::string version;  // resourceVersion
  std::string wanted;   // the annotation
  bool exists = false;
};

std::string annotation(const YamlNode& object, const char* name) {
  YamlErrors ignored;
  return YamlMap(&object, "", object.line, ignored).map("metadata").map("annotations").text(name);
}

class Allocation {
 public:
  Allocation(const ServiceVipRequest& request, const ApiAccess& access, const ApiTimes& times)
      : request_(request), server_name_(access.server), server_(access, times) {}

  [[nodiscard]] Result<ServiceVip> run() {
    if (request_.pools.empty()) {
      if (Status found = find_pools(); !found) {
        return found.error();
      }
    }
    if (Status good = check_request(request_); !good) {
      return good.error();
    }
    std::set<IpAddress> lost;  // to others
    for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
      auto done = try_once(lost);
      if (!done || *done) {
        return done ? Result<ServiceVip>(**std::move(done)) : Result<ServiceVip>(done.error());
      }
      pause();
    }
    return Error{"others claim addresses or change this Service all the time", where(), "try again"};
  }

 private:
  static constexpr const char* kServices = "services";

  [[nodiscard]] std::string path() const { return "/api/v1/namespaces/" + request_.ns + "/services/" + request_.name; }
  [[nodiscard]] std::string where() const { return server_name_ + path(); }

  [[nodiscard]] Status find_pools() {
    const std::string profiles = "crossclusternetworkprofiles";
    const Status listed = server_.list(
        "/apis/isthmus.io/v1alpha1/" + profiles, profiles + " of isthmus.io", true, [&](const YamlNode& object) {
          ManifestDocument document;
          read_manifest_tree(object, {}, "isthmus.io/v1alpha1", "CrossClusterNetworkProfile", document);
          for (const ManifestObject& read : document.objects) {
            const auto& members = std::get<ProfileObject>(*read.value).members;
            if (const auto at = members.find(request_.cluster); at != members.end()) {
              request_.pools.insert(request_.pools.end(), at->second.vip_pools.begin(), at->second.vip_pools.end());
            }
          }
        });
    if (!listed) {
      return listed;
    }
    // Pools that several clusters share are no answer: their servers do not know of each other's claims.
    return request_.pools.empty()
               ? Status(Error{"no CrossClusterNetworkProfile has VIP pools of cluster " + shown(request_.cluster),
                              server_name_ + "/apis/isthmus.io/v1alpha1/" + profiles,
                              "give one with --pool, from which no other cluster takes addresses, or add vipPools to "
                              "this cluster in spec.members"})
               : Status(Ok{});
  }

  // What the server has of claims, and of the Service itself.
  [[nodiscard]] Result<ClaimView> read(ListedService& own) {
    ClaimView view;
    view.cluster_known = true;
    const auto collect = [&](const std::string& version, const std::string& kind, bool fleet) {
      return [&view, this, version, kind, fleet](const YamlNode& object) {
        ManifestDocument document;
        read_manifest_tree(object, fleet ? std::string() : own_cluster(), version, kind, document);
        for (const ManifestObject& read : document.objects) {
          VipRequest request = request_;
          request.cluster = own_cluster();
          collect_claims({read.key.object, *read.value, {server_name_, 0}}, request, view);
        }
      };
    };
    const auto services = collect("v1", "Service", false);
    Status listed = server_.list("/api/v1/services", kServices, false, [&](const YamlNode& object) {
      services(object);
      const std::string wanted = annotation(object, kVipWantedAnnotation);
      if (metadata_text(object, "namespace") == request_.ns && metadata_text(object, "name") == request_.name) {
        own = {metadata_text(object, "resourceVersion"), wanted, true};
        return;
      }
      for (std::size_t at = 0; at < wanted.size();) {
        const std::size_t end = std::min(wanted.find(',', at), wanted.size());
        if (const auto address = IpAddress::parse(std::string_view(wanted).substr(at, end - at))) {
          view.taken.insert(*address);
        }
        at = end + 1;
      }
    });
    for (const auto& [path, right, version, kind] :
         {std::tuple{"/apis/isthmus.io/v1alpha1/clusters", "clusters of isthmus.io", "isthmus.io/v1alpha1", "Cluster"},
          std::tuple{"/apis/isthmus.io/v1alpha1/gateways", "gateways of isthmus.io", "isthmus.io/v1alpha1", "Gateway"},
          std::tuple{"/apis/multicluster.x-k8s.io/v1beta1/serviceimports", "serviceimports of multicluster.x-k8s.io",
                     "multicluster.x-k8s.io/v1beta1", "ServiceImport"},
          std::tuple{"/apis/multicluster.x-k8s.io/v1alpha1/serviceimports", "serviceimports of multicluster.x-k8s.io",
                     "multicluster.x-k8s.io/v1alpha1", "ServiceImport"}}) {
      if (listed) {
        listed = server_.list(path, right, true,
                              collect(version, kind, std::string_view(version).starts_with("isthmus.io/")));
      }
    }
    return listed ? Result<ClaimView>(std::move(view)) : Result<ClaimView>(listed.error());
  }

  [[nodiscard]] std::string own_cluster() const { return request_.cluster.empty() ? "own" : request_.cluster; }

  // Nothing: somebody was faster.
  [[nodiscard]] Result<std::optional<ServiceVip>> try_once(std::set<IpAddress>& lost) {
    ListedService own;
    auto view = read(own);
    if (!view) {
      return view.error();
    }
    if (!own.exists) {
      return Error{"there is no Service " + request_.ns + "/" + request_.name, where(),
                   "create it first: the claim is its annotation"};
    }
    const auto existing = existing_claim(request_, *view);
    if (!existing) {
      return existing.error();
    }
    if (*existing) {
      return std::optional(ServiceVip{(*existing)->addresses, where(), false});
    }
    if (Status good = check_pools(request_, *view); !good) {
      return good.error();
    }
    view->taken.insert(lost.begin(), lost.end());
    const auto addresses = take_addresses(request_, *view);
    if (!addresses) {
      return addresses.error();
    }
    if (request_.dry_run) {
      return std::optional(ServiceVip{*addresses, where(), false});
    }
    const std::string text = join_addresses(*addresses, ",");
    auto wished = write(own.version, {{kVipWantedAnnotation, text}});
    if (!wished || wished->empty()) {
      return wished ? Result<std::optional<ServiceVip>>(std::optional<ServiceVip>()) : wished.error();
    }
    return confirm(*addresses, text, lost);
  }

  [[nodiscard]] Result<std::optional<ServiceVip>> confirm(const std::vector<IpAddress>& addresses,
                                                          const std::string& text, std::set<IpAddress>& lost) {
    ListedService own;
    const auto view = read(own);
    if (!view) {
      return view.error();
    }
    const bool mine = own.wanted == text;
    bool free = mine && view->service_claims.empty();
    for (const IpAddress& address : addresses) {
      if (view->taken.contains(address)) {
        lost.insert(address);
        free = false;
      }
    }
    const auto written = free   ? write(own.version, {{kVipWantedAnnotation, nullptr}, {kVipAnnotation, text}})
                         : mine ? write(own.version, {{kVipWantedAnnotation, nullptr}})
                                : Result<std::string>(std::string());
    if (!written) {
      return written.error();
    }
    return free && !written->empty() ? std::optional(ServiceVip{addresses, where(), true})
                                     : std::optional<ServiceVip>();
  }

  // The Service's new resourceVersion; empty: it was changed meanwhile.
  [[nodiscard]] Result<std::string> write(const std::string& version, json annotations) {
    ApiRequest request;
    request.method = "PATCH";
    request.target = path() + "?fieldManager=isthmus-allocate";
    request.content_type = "application/merge-patch+json";
    request.body = json{{"metadata", {{"resourceVersion", version}, {"annotations", std::move(annotations)}}}}.dump();
    const auto answer = server_.ask(request);
    if (!answer) {
      return answer.error();
    }
    if (answer->status == 409) {
      return std::string();
    }
    if (answer->status != 200) {
      return server_.refusal(*answer, path(), "patch on services in namespace " + request_.ns);
    }
    return version + "+";
  }

  // So that two that met do not meet again.
  void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 200)); }

  ServiceVipRequest request_;
  std::string server_name_;
  Server server_;
  std::mt19937 random_{std::random_device{}()};
};

}  // namespace

Result<ServiceVip> allocate_service_vip(const ServiceVipRequest& request, const ApiAccess& access,
                                        const ApiTimes& times) {
  return Allocation(request, access, times).run();
}

}  // namespace isthmus
