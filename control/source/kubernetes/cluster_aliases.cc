#include "control/source/kubernetes/cluster_aliases.h"

#include <algorithm>
#include <chrono>
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

constexpr unsigned kAliasAttempts = 30;  // blocks or writes lost to others

// What the server has of blocks, and of the claim itself.
struct ServerBlocks : AliasView {
  std::string version, wanted;           // of the profile alias-CLUSTER: resourceVersion, and the annotation
  std::vector<std::string> wishes = {};  // of others: "100.64.0.0/16 of alias-north"
};

class AliasAllocation {
 public:
  AliasAllocation(const ServerAliasRequest& request, const ApiAccess& access, const ApiTimes& times)
      : request_(request), server_name_(access.server), server_(access, times) {}

  [[nodiscard]] Result<AliasClaim> run() {
    auto done = allocate();
    if (wish_ && !withdraw(*wish_)) {
      const std::string left = "annotation " + std::string(kAliasWantedAnnotation) + " of profile " + name() +
                               " could not be withdrawn, and keeps others from " + *wish_ + ": remove it";
      if (!done) {
        Error error = done.error();
        error.fix += "; " + left;
        return error;
      }
      done->notes.push_back(left);
    }
    return done;
  }

 private:
  static constexpr const char* kProfiles = "/apis/isthmus.io/v1alpha1/crossclusternetworkprofiles";

  [[nodiscard]] std::string name() const { return alias_profile_name(request_.cluster); }
  [[nodiscard]] std::string path() const { return kProfiles + ("/" + name()); }
  [[nodiscard]] std::string where() const { return server_name_ + path(); }

  [[nodiscard]] Result<AliasClaim> allocate() {
    if (Status good = check_alias_request(request_); !good) {
      return good.error();
    }
    std::vector<std::pair<Prefix, std::string>> lost;  // blocks that others have wished for
    for (unsigned attempt = 0; attempt < kAliasAttempts; ++attempt) {
      auto done = try_once(lost);
      if (!done && !lost.empty()) {  // they may have withdrawn their wishes as well
        lost.clear();
        done = try_once(lost);
      }
      if (!done || *done) {
        return done ? Result<AliasClaim>(**std::move(done)) : Result<AliasClaim>(done.error());
      }
      // So that two that met do not meet again.
      std::this_thread::sleep_for(std::chrono::milliseconds(random_() % 200));
    }
    return Error{"others claim blocks or change this profile all the time", where(), "try again"};
  }

  [[nodiscard]] Result<ServerBlocks> read() {
    ServerBlocks view;
    Status listed = Ok{};
    for (const auto& [kind, plural] : {std::pair{"Cluster", "clusters"}, std::pair{"Gateway", "gateways"},
                                       std::pair{"CrossClusterNetworkProfile", "crossclusternetworkprofiles"}}) {
      if (listed) {
        listed = list_fleet(server_, server_name_, kind, plural, [&](const ObjectDelta& object, const YamlNode& tree) {
          collect_alias_blocks(object, request_, view);
          add_wish(object.key, tree, view);
        });
      }
    }
    if (listed) {
      listed = server_.list("/api/v1/services", "services", false, [&](const YamlNode& object) {
        ServiceObject service;
        service.claimed_vips = service_claim(object).addresses;
        for (const std::string_view word :
             claim_words(annotation_text(object, kVipWantedAnnotation).value_or(std::string()))) {
          if (const auto address = IpAddress::parse(word)) {
            service.claimed_vips.push_back(*address);
          }
        }
        add(ObjectKind::kService, object, std::move(service), view);
      });
    }
    for (const char* version : {"v1beta1", "v1alpha1"}) {
      if (listed) {
        listed = server_.list("/apis/multicluster.x-k8s.io/" + std::string(version) + "/serviceimports",
                              "serviceimports of multicluster.x-k8s.io", true, [&](const YamlNode& object) {
                                ServiceImportObject import;
                                import.ips = import_claim(object).addresses;
                                add(ObjectKind::kServiceImport, object, std::move(import), view);
                              });
      }
    }
    if (listed) {
      listed = server_.list("/api/v1/nodes", "nodes", false, [&](const YamlNode& object) {
        ManifestDocument document;
        read_manifest_tree(object, "own", "v1", "Node", document);
        for (const ManifestObject& read : document.objects) {
          collect_alias_blocks({read.key.object, *read.value, {server_name_, 0}}, request_, view);
        }
      });
    }
    return listed ? Result<ServerBlocks>(std::move(view)) : Result<ServerBlocks>(listed.error());
  }

  void add(ObjectKind kind, const YamlNode& object, ObjectValue value, ServerBlocks& view) const {
    const ObjectKey key{kind, "own", metadata_text(object, "namespace"), metadata_text(object, "name")};
    collect_alias_blocks({key, std::move(value), {server_name_, 0}}, request_, view);
  }

  void add_wish(const ObjectKey& key, const YamlNode& object, ServerBlocks& view) const {
    const std::string wanted = annotation_text(object, kAliasWantedAnnotation).value_or(std::string());
    if (key.kind == ObjectKind::kProfile && key.name == name()) {
      view.version = metadata_text(object, "resourceVersion");
      view.wanted = wanted;
      return;
    }
    for (const std::string_view word : claim_words(wanted)) {
      if (const auto block = Prefix::parse(word)) {
        view.taken.emplace_back(*block, "wanted by profile " + key.name);
        view.wishes.push_back(block->to_string() + " of " + key.name);
      }
    }
  }

  // Nothing: somebody was faster.
  [[nodiscard]] Result<std::optional<AliasClaim>> try_once(std::vector<std::pair<Prefix, std::string>>& lost) {
    auto view = read();
    if (!view) {
      return view.error();
    }
    view->taken.insert(view->taken.end(), lost.begin(), lost.end());
    auto plan = plan_aliases(request_, *view);
    if (!plan) {
      return with_wishes(plan.error(), *view);
    }
    AliasClaim claim{plan->blocks, where(), false, std::move(plan->notes)};
    if (!plan->changes()) {
      claim.where = view->aliases.empty() ? server_name_ : view->aliases.front().provenance.location;
      if (!view->wanted.empty() && !request_.dry_run) {
        wish_ = view->wanted;  // left behind: what has a claim wishes for nothing
      }
      return std::optional(std::move(claim));
    }
    if (request_.dry_run) {
      return std::optional(std::move(claim));
    }
    std::string wanted;
    for (const AliasBlock& block : plan->blocks) {
      wanted += !block.fresh ? "" : (wanted.empty() ? "" : ",") + block.pair.alias.to_string();
    }
    const auto wished = view->claim ? wish(wanted, view->version) : create(wanted);
    if (!wished || !*wished) {
      return wished ? Result<std::optional<AliasClaim>>(std::optional<AliasClaim>()) : wished.error();
    }
    return confirm(*plan, wanted, std::move(claim), lost);
  }

  // What others want may be what a crash has left.
  [[nodiscard]] static Error with_wishes(Error error, const ServerBlocks& view) {
    std::string standing;
    for (const std::string& each : view.wishes) {
      standing += (standing.empty() ? "" : ", ") + each;
    }
    if (!standing.empty()) {
      error.fix += "; where no isthmus allocate runs, remove what one that was killed has left, the annotation " +
                   std::string(kAliasWantedAnnotation) + ": " + standing;
    }
    return error;
  }

  [[nodiscard]] Result<std::optional<AliasClaim>> confirm(const AliasPlan& plan, const std::string& wanted,
                                                          AliasClaim claim,
                                                          std::vector<std::pair<Prefix, std::string>>& lost) {
    const auto view = read();
    if (!view) {
      return view.error();
    }
    if (view->wanted != wanted) {
      return std::optional<AliasClaim>();
    }
    bool free = true;
    for (const AliasBlock& block : plan.blocks) {
      const std::string user = block.fresh ? user_of(block.pair.alias, *view) : std::string();
      if (!user.empty()) {
        lost.emplace_back(block.pair.alias, "lost to " + user);
        free = false;
      }
    }
    if (!free) {
      return withdraw(wanted) ? Result<std::optional<AliasClaim>>(std::optional<AliasClaim>())
                              : Result<std::optional<AliasClaim>>(
                                    Error{"a block that others claim was wanted, and the wish is not taken back",
                                          where(), "see whether the API server takes patches of this profile"});
    }
    const auto written =
        merge({{"metadata", {{"resourceVersion", view->version}, {"annotations", {{kAliasWantedAnnotation, nullptr}}}}},
               {"spec", {{"members", json::parse(alias_members_json(request_.cluster, plan.claim))}}}},
              nullptr);
    if (!written || !*written) {
      return written ? Result<std::optional<AliasClaim>>(std::optional<AliasClaim>()) : written.error();
    }
    wish_.reset();
    claim.created = true;
    return std::optional(std::move(claim));
  }

  // The three that write: false: somebody was faster.
  [[nodiscard]] Result<bool> create(const std::string& wanted) {
    const json body{{"apiVersion", "isthmus.io/v1alpha1"},
                    {"kind", "CrossClusterNetworkProfile"},
                    {"metadata", {{"name", name()}, {"annotations", {{kAliasWantedAnnotation, wanted}}}}},
                    {"spec", {{"clusters", {request_.cluster}}}}};
    return write("POST", kProfiles, "application/json", body, "create on crossclusternetworkprofiles of isthmus.io",
                 &wanted);
  }
  [[nodiscard]] Result<bool> wish(const std::string& wanted, const std::string& version) {
    return merge({{"metadata", {{"resourceVersion", version}, {"annotations", {{kAliasWantedAnnotation, wanted}}}}}},
                 &wanted);
  }
  [[nodiscard]] Result<bool> merge(const json& body, const std::string* wanted) {
    return write("PATCH", path(), "application/merge-patch+json", body, kPatchRight, wanted);
  }

  static constexpr const char* kPatchRight = "patch on crossclusternetworkprofiles of isthmus.io";

  // `wanted`: what is wished for by it, even where the answer is lost.
  [[nodiscard]] Result<bool> write(const char* method, const std::string& target, const char* type, const json& body,
                                   const char* right, const std::string* wanted) {
    const auto answer = ask(method, target, type, body);
    const bool refused = answer && answer->status >= 400 && answer->status < 500;
    if (wanted != nullptr && !refused) {
      wish_ = *wanted;
    }
    if (!answer) {
      return answer.error();
    }
    if (answer->status == 409) {
      return false;
    }
    if (answer->status != 200 && answer->status != 201) {
      return server_.refusal(*answer, target, right);
    }
    return true;
  }

  // True: the profile does not wish for `text`, or not any more. 422: it does not, or an admission policy has refused.
  [[nodiscard]] bool withdraw(const std::string& text) {
    const std::string at = "/metadata/annotations/isthmus.io~1alias-wanted";
    const auto answer =
        ask("PATCH", path(), "application/json-patch+json",
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
    const Status listed =
        server_.list(kProfiles, "crossclusternetworkprofiles of isthmus.io", true, [&](const YamlNode& object) {
          wishes = wishes ||
                   (metadata_text(object, "name") == name() && annotation_text(object, kAliasWantedAnnotation) == text);
        });
    return wishes || !listed;
  }

  [[nodiscard]] Result<ApiAnswer> ask(const char* method, const std::string& target, const char* type,
                                      const json& body) {
    ApiRequest request;
    request.method = method;
    request.target = target + "?fieldManager=isthmus-allocate";
    request.content_type = type;
    request.body = body.dump();
    return server_.ask(request);
  }

  ServerAliasRequest request_;
  std::optional<std::string> wish_;  // that stands at the profile, as far as is known
  std::string server_name_;
  ApiCaller server_;
  std::mt19937 random_{std::random_device{}()};
};

}  // namespace

Result<AliasClaim> allocate_cluster_alias(const ServerAliasRequest& request, const ApiAccess& access,
                                          const ApiTimes& times) {
  return AliasAllocation(request, access, times).run();
}

}  // namespace isthmus
