#include "control/source/kubernetes/service_vips.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/kubernetes/api_caller.h"
#include "control/source/kubernetes/api_claims.h"
#include "control/source/kubernetes/api_text.h"
#include "control/source/manifest/manifest.h"
#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

using nlohmann::json;

constexpr unsigned kAttempts = 20;  // addresses or writes lost to others

struct ListedService {
  std::string version;  // resourceVersion
  std::string wanted;   // the annotation
  bool exists = false;
};

// What the server has of claims, and of the Service itself.
struct ServerClaims : ClaimView {
  ListedService own;
  std::map<IpAddress, std::string> wishes;  // of other Services, with the Service
  std::optional<Error> spoilt;              // the Service's own claim
};

class Allocation {
 public:
  Allocation(const ServiceVipRequest& request, const ApiAccess& access, const ApiTimes& times)
      : request_(request), server_name_(access.server), server_(access, times) {}

  [[nodiscard]] Result<ServiceVip> run() {
    auto done = allocate();
    if (wish_) {
      const std::string left = "the Service's annotation " + std::string(kVipWantedAnnotation) + ": " + *wish_ +
                               " could not be withdrawn, and keeps others from these addresses: remove it";
      const bool withdrawn = withdraw(*wish_);
      if (!withdrawn && !done) {
        Error error = done.error();
        error.fix += "; " + left;
        return error;
      }
      if (!withdrawn) {
        notes_.push_back(left);
      }
    }
    if (done) {
      done->notes = std::move(notes_);
    }
    return done;
  }

 private:
  static constexpr const char* kServices = "services";
  static constexpr const char* kImports = "serviceimports of multicluster.x-k8s.io";

  [[nodiscard]] Result<ServiceVip> allocate() {
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

  [[nodiscard]] Result<ServerClaims> read() {
    ServerClaims view;
    view.cluster_known = true;
    notes_.clear();
    Status listed = server_.list("/api/v1/services", kServices, false, [&](const YamlNode& object) {
      add_claim(object, ObjectKind::kService, service_claim(object), view);
      add_wish(object, view);
    });
    for (const char* version : {"v1beta1", "v1alpha1"}) {
      if (listed) {
        listed = server_.list(
            "/apis/multicluster.x-k8s.io/" + std::string(version) + "/serviceimports", kImports, true,
            [&](const YamlNode& object) { add_claim(object, ObjectKind::kServiceImport, import_claim(object), view); });
      }
    }
    for (const auto& [kind, plural] : {std::pair{"Cluster", "clusters"}, std::pair{"Gateway", "gateways"},
                                       std::pair{"CrossClusterNetworkProfile", "crossclusternetworkprofiles"}}) {
      if (listed) {
        listed = list_fleet(server_, server_name_, kind, plural, [&](const ObjectDelta& object, const YamlNode&) {
          collect_claims(object, request_, view);
        });
      }
    }
    return listed ? Result<ServerClaims>(std::move(view)) : Result<ServerClaims>(listed.error());
  }

  void add_claim(const YamlNode& object, ObjectKind kind, WrittenClaim claim, ServerClaims& view) {
    VipRequest request = request_;
    request.cluster = own_cluster();
    const ObjectKey key{kind, request.cluster, metadata_text(object, "namespace"), metadata_text(object, "name")};
    const std::string name =
        std::string(kind == ObjectKind::kService ? "Service " : "ServiceImport ") + key.ns + "/" + key.name;
    for (const YamlError& error : claim.errors) {
      if (key.ns == request_.ns && key.name == request_.name) {
        view.spoilt = Error{name + ": " + error.what, where(),
                            "correct it, or remove it: until then gateways keep what it claimed before"};
      } else {
        notes_.push_back(name + ": " + error.what +
                         "; what it claimed before stays with it at gateways, and is not known here");
      }
    }
    ServiceObject service;
    ServiceImportObject import;
    (kind == ObjectKind::kService ? service.claimed_vips : import.ips) = std::move(claim.addresses);
    collect_claims({key,
                    kind == ObjectKind::kService ? ObjectValue(std::move(service)) : ObjectValue(std::move(import)),
                    {server_name_, 0}},
                   request, view);
  }

  void add_wish(const YamlNode& object, ServerClaims& view) const {
    const std::string ns = metadata_text(object, "namespace"), name = metadata_text(object, "name");
    const std::string wanted = annotation_text(object, kVipWantedAnnotation).value_or(std::string());
    if (ns == request_.ns && name == request_.name) {
      view.own = {metadata_text(object, "resourceVersion"), wanted, true};
      return;
    }
    for (const std::string_view word : claim_words(wanted)) {
      if (const auto address = IpAddress::parse(word)) {
        view.taken.insert(*address);
        view.wishes.emplace(*address, ns + "/" + name);
      }
    }
  }

  [[nodiscard]] std::string own_cluster() const { return request_.cluster.empty() ? "own" : request_.cluster; }

  // Nothing: somebody was faster.
  [[nodiscard]] Result<std::optional<ServiceVip>> try_once(std::set<IpAddress>& lost) {
    auto view = read();
    if (!view) {
      return view.error();
    }
    if (!view->own.exists) {
      return Error{"there is no Service " + request_.ns + "/" + request_.name, where(),
                   "create it first: the claim is its annotation"};
    }
    if (view->spoilt) {
      return *view->spoilt;
    }
    const auto existing = existing_claim(request_, *view);
    if (!existing) {
      return existing.error();
    }
    if (*existing) {
      if (!view->own.wanted.empty() && !request_.dry_run) {
        wish_ = view->own.wanted;  // left behind: what has a claim wishes for nothing
      }
      return std::optional(ServiceVip{(*existing)->addresses, where(), false, {}});
    }
    if (Status good = check_pools(request_, *view); !good) {
      return good.error();
    }
    note_unchecked_pools(*view);
    view->taken.insert(lost.begin(), lost.end());
    const auto addresses = take_addresses(request_, *view);
    if (!addresses) {
      return with_wishes(addresses.error(), *view);
    }
    if (request_.dry_run) {
      return std::optional(ServiceVip{*addresses, where(), false, {}});
    }
    const std::string text = join_addresses(*addresses, ",");
    const std::string& version = view->own.version;
    bool refused = false;
    const auto wished = write(version, {{kVipWantedAnnotation, text}}, &refused);
    if (!refused) {
      wish_ = text;  // even where the answer is lost
    }
    if (!wished || !*wished) {
      return wished ? Result<std::optional<ServiceVip>>(std::optional<ServiceVip>()) : wished.error();
    }
    return confirm(*addresses, text, lost);
  }

  // A server without the fleet's objects cannot say which addresses are pods' and nodes'.
  void note_unchecked_pools(const ClaimView& view) {
    if (view.blocks.empty()) {
      notes_.push_back(server_name_ + " has no Cluster of isthmus.io with address blocks: nothing says whether " +
                       "pods or nodes of the fleet have addresses of the pools; see that none has");
    }
  }

  // What others want may be what a crash has left.
  [[nodiscard]] Error with_wishes(Error error, const ServerClaims& view) const {
    std::string standing;
    for (const auto& [address, service] : view.wishes) {
      const bool in_pool = std::any_of(request_.pools.begin(), request_.pools.end(),
                                       [&](const Prefix& pool) { return pool.contains(address); });
      standing += in_pool ? (standing.empty() ? "" : ", ") + address.to_string() + " of " + service : "";
    }
    if (!standing.empty()) {
      error.fix += "; where no isthmus allocate runs, remove what one that was killed has left, the annotation " +
                   std::string(kVipWantedAnnotation) + ": " + standing;
    }
    return error;
  }

  [[nodiscard]] Result<std::optional<ServiceVip>> confirm(const std::vector<IpAddress>& addresses,
                                                          const std::string& text, std::set<IpAddress>& lost) {
    const auto view = read();
    if (!view) {
      return view.error();
    }
    if (view->own.wanted != text) {
      return std::optional<ServiceVip>();
    }
    bool free = view->service_claims.empty() && !view->spoilt;
    for (const IpAddress& address : addresses) {
      if (view->taken.contains(address)) {
        lost.insert(address);
        free = false;
      }
    }
    if (!free && !withdraw(text)) {
      return Error{"an address that others claim was wanted, and the wish is not taken back", where(),
                   "see whether the API server takes patches of this Service"};
    }
    if (!free) {
      return std::optional<ServiceVip>();
    }
    const auto written = write(view->own.version, {{kVipWantedAnnotation, nullptr}, {kVipAnnotation, text}});
    if (!written) {
      return written.error();
    }
    if (!*written) {
      return std::optional<ServiceVip>();
    }
    note_unchecked_pools(*view);
    wish_.reset();
    return std::optional(ServiceVip{addresses, where(), true, {}});
  }

  // False: the Service was changed meanwhile. `refused`: the server has said that nothing was written.
  [[nodiscard]] Result<bool> write(const std::string& version, json annotations, bool* refused = nullptr) {
    const auto answer = patch("application/merge-patch+json",
                              {{"metadata", {{"resourceVersion", version}, {"annotations", std::move(annotations)}}}});
    if (refused != nullptr) {
      *refused = answer && answer->status >= 400 && answer->status < 500;
    }
    if (!answer) {
      return answer.error();
    }
    if (answer->status == 409) {
      return false;
    }
    if (answer->status != 200) {
      return server_.refusal(*answer, path(), "patch on services in namespace " + request_.ns);
    }
    return true;
  }

  // True: the Service does not wish for `text`, or not any more. 422: it does not, or an admission policy has refused.
  [[nodiscard]] bool withdraw(const std::string& text) {
    const std::string at = "/metadata/annotations/isthmus.io~1vip-wanted";
    const auto answer =
        patch("application/json-patch+json",
              json::array({json{{"op", "test"}, {"path", at}, {"value", text}}, json{{"op", "remove"}, {"path", at}}}));
    const bool gone =
        answer && (answer->status == 200 || answer->status == 404 || (answer->status == 422 && !wishes_for(text)));
    if (gone) {
      wish_.reset();
    }
    return gone;
  }

  [[nodiscard]] bool wishes_for(const std::string& text) {
    bool wishes = false;
    const Status listed = server_.list("/api/v1/services", kServices, false, [&](const YamlNode& object) {
      wishes = wishes ||
               (metadata_text(object, "namespace") == request_.ns && metadata_text(object, "name") == request_.name &&
                annotation_text(object, kVipWantedAnnotation) == text);
    });
    return wishes || !listed;
  }

  [[nodiscard]] Result<ApiAnswer> patch(const char* type, const json& body) {
    ApiRequest request;
    request.method = "PATCH";
    request.target = path() + "?fieldManager=isthmus-allocate";
    request.content_type = type;
    request.body = body.dump();
    return server_.ask(request);
  }

  // So that two that met do not meet again.
  void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 200)); }

  ServiceVipRequest request_;
  std::optional<std::string> wish_;  // that stands at the Service, as far as is known
  std::vector<std::string> notes_;   // of what could not be taken into account
  std::string server_name_;
  ApiCaller server_;
  std::mt19937 random_{std::random_device{}()};
};

}  // namespace

Result<ServiceVip> allocate_service_vip(const ServiceVipRequest& request, const ApiAccess& access,
                                        const ApiTimes& times) {
  return Allocation(request, access, times).run();
}

}  // namespace isthmus
