#include "control/source/manifest/manifest.h"

#include <absl/hash/hash.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <utility>

#include "control/source/manifest/object_reader.h"

namespace isthmus {
namespace {

enum class Scope : std::uint8_t { kFleet, kCluster, kNamespace };

struct KindRow {
  std::string_view name, group;  // the core group is empty
  std::string_view versions;     // separated by spaces, the preferred one first
  ObjectKind kind;
  Scope scope;
  KindReader read;
};

constexpr std::string_view kOurGroup = "isthmus.io";
constexpr std::array<KindRow, 17> kKinds{{
    {"Cluster", kOurGroup, "v1alpha1", ObjectKind::kCluster, Scope::kFleet, read_cluster},
    {"Gateway", kOurGroup, "v1alpha1", ObjectKind::kGateway, Scope::kFleet, read_gateway},
    {"CrossClusterNetworkProfile", kOurGroup, "v1alpha1", ObjectKind::kProfile, Scope::kFleet, read_profile},
    {"Namespace", "", "v1", ObjectKind::kNamespace, Scope::kCluster, read_namespace},
    {"Service", "", "v1", ObjectKind::kService, Scope::kNamespace, read_service},
    {"EndpointSlice", "discovery.k8s.io", "v1", ObjectKind::kSlice, Scope::kNamespace, read_slice},
    {"Pod", "", "v1", ObjectKind::kPod, Scope::kNamespace, read_pod},
    {"Node", "", "v1", ObjectKind::kNode, Scope::kCluster, read_node},
    {"CiliumEndpoint", "cilium.io", "v2", ObjectKind::kCiliumEndpoint, Scope::kNamespace, read_cilium_endpoint},
    {"CiliumIdentity", "cilium.io", "v2", ObjectKind::kIdentity, Scope::kCluster, read_cilium_identity},
    {"CiliumNode", "cilium.io", "v2", ObjectKind::kNode, Scope::kCluster, read_cilium_node},
    {"ServiceImport", "multicluster.x-k8s.io", "v1alpha1 v1beta1", ObjectKind::kServiceImport, Scope::kNamespace,
     read_service_import},
    {"CiliumCIDRGroup", "cilium.io", "v2 v2alpha1", ObjectKind::kCidrGroup, Scope::kCluster, read_cidr_group},
    {"NetworkPolicy", "networking.k8s.io", "v1", ObjectKind::kNetworkPolicy, Scope::kNamespace, read_network_policy},
    {"CiliumNetworkPolicy", "cilium.io", "v2", ObjectKind::kCiliumPolicy, Scope::kNamespace, read_cilium_policy},
    {"CiliumClusterwideNetworkPolicy", "cilium.io", "v2", ObjectKind::kClusterwidePolicy, Scope::kCluster,
     read_cilium_policy},
    {"ConfigMap", "", "v1", ObjectKind::kAgentConfig, Scope::kNamespace, read_agent_config},
}};

std::string_view first_word(std::string_view words) { return words.substr(0, words.find(' ')); }

bool has_word(std::string_view words, std::string_view word) {
  for (; !words.empty(); words.remove_prefix(std::min(words.size(), first_word(words).size() + 1))) {
    if (first_word(words) == word) {
      return true;
    }
  }
  return false;
}

std::string api_version(const KindRow& row) {
  return (row.group.empty() ? "" : std::string(row.group) + "/") + std::string(first_word(row.versions));
}

bool is_policy(const KindRow& row) {
  return row.kind == ObjectKind::kNetworkPolicy || row.kind == ObjectKind::kCiliumPolicy ||
         row.kind == ObjectKind::kClusterwidePolicy;
}

bool is_agent_config(const YamlMap& root) {
  const YamlMap metadata = root.map("metadata");
  return metadata.text("name") == kAgentConfigName && metadata.text("namespace") == kAgentConfigNamespace;
}

// The policy that an object of no kind we read was probably meant to be: NetworkPolicy of its former group, or a typing
// error in the kind. Null: none.
const KindRow* intended_policy(std::string_view group, std::string_view kind) {
  std::vector<std::string_view> names;
  for (const KindRow& row : kKinds) {
    if (is_policy(row) && (group.empty() || row.group == group || (row.name == kind && group == "extensions"))) {
      names.push_back(row.name);
    }
  }
  const std::string_view near = nearest(kind, names);
  const auto* row = std::find_if(kKinds.begin(), kKinds.end(), [&](const KindRow& each) { return each.name == near; });
  return row == kKinds.end() ? nullptr : row;
}

// Policies for pods' packets that other programs enforce, and this one does not.
bool is_foreign_policy(std::string_view kind) { return kind.ends_with("NetworkPolicy"); }

// Whether an object of the row's kind in another group was probably meant to be one: a typing error in the group. A
// kind that is named after Cilium can be nobody else's.
bool is_mistyped(const KindRow& row, std::string_view group) {
  constexpr std::string_view kOthers = "policy.networking.k8s.io crd.projectcalico.org projectcalico.org crd.antrea.io";
  return !row.group.empty() && !has_word(kOthers, group) &&
         (!nearest(group, {row.group}).empty() || (is_policy(row) && row.name.starts_with("Cilium")));
}

// Reads the objects of one document into it.
class DocumentReader {
 public:
  DocumentReader(const std::string& cluster, ManifestDocument& out) : cluster_(cluster), out_(out) {}

  void read(const YamlNode& node, std::string_view default_version, std::string_view default_kind) {
    if (node.kind == YamlNode::Kind::kNull) {
      return;
    }
    const std::size_t before = out_.errors.size();
    const YamlMap root(&node, "", node.line, out_.errors);
    std::string version = root.text("apiVersion"), kind = root.text("kind");
    version = version.empty() ? std::string(default_version) : version;
    kind = kind.empty() ? std::string(default_kind) : kind;
    if (!root.present() || version.empty() || kind.empty()) {
      if (root.present()) {
        root.error(root.line(), version.empty() ? "the object has no apiVersion" : "the object has no kind",
                   "write apiVersion: and kind:, as in every Kubernetes manifest");
      }
      out_.unreadable = true;
      return;
    }
    if (kind.size() > 4 && kind.ends_with("List") && root.get("items") != nullptr) {
      read_list_kind(root, version, kind);
    } else if (kind == "List" && version == "v1") {
      read_list_kind(root, "", "");
    } else if (const KindRow* row = find_kind(root, version, kind)) {
      read_object(root, *row, before);
    } else {
      skip_kind(root, version, before);
    }
  }

 private:
  // Counts an object of a kind we do not read. Without a name it may be the first half of an object that we do read.
  void skip_kind(const YamlMap& root, std::string_view version, std::size_t errors_before) {
    const bool tool_file = version.substr(0, version.find('/')).ends_with("config.k8s.io");
    if (!has_errors_since(errors_before) && !tool_file) {
      (void)root.map("metadata").require("name", "give the object a name");
    }
    if (has_errors_since(errors_before)) {
      out_.unreadable = true;
    } else {
      ++out_.ignored;
    }
  }

  // Whether an error other than a warning was added after the first `count`.
  [[nodiscard]] bool has_errors_since(std::size_t count) const {
    return std::any_of(out_.errors.begin() + static_cast<std::ptrdiff_t>(count), out_.errors.end(),
                       [](const YamlError& error) { return !error.warning; });
  }

  void read_list_kind(const YamlMap& root, std::string_view version, std::string_view kind) {
    const std::size_t before = out_.errors.size();
    const auto& items = root.list("items");
    out_.unreadable = out_.unreadable || has_errors_since(before);
    for (const YamlNode& item : items) {
      read(item, version, kind.empty() ? kind : kind.substr(0, kind.size() - 4));
    }
  }

  // The row of a kind we read; with an error, of a policy in an unsupported version or with a typing error in its group
  // or kind, which is refused by name. Null for other kinds, with an error only for unknown kinds of our own group, for
  // unsupported versions and mistyped groups, and a warning for policies that only others enforce.
  [[nodiscard]] static const KindRow* find_kind(const YamlMap& root, std::string_view version, std::string_view kind) {
    const auto slash = version.find('/');
    const std::string_view group = slash == std::string_view::npos ? std::string_view() : version.substr(0, slash);
    const std::string_view version_name = slash == std::string_view::npos ? version : version.substr(slash + 1);
    std::vector<std::string_view> ours;
    for (const KindRow& row : kKinds) {
      if (row.group == kOurGroup) {
        ours.push_back(row.name);
      }
      if (row.name != kind) {
        continue;
      }
      if (row.kind == ObjectKind::kAgentConfig && !is_agent_config(root)) {
        return nullptr;
      }
      if (row.group == group && has_word(row.versions, version_name)) {
        return &row;
      }
      if (row.group != group && !group.empty() && !is_mistyped(row, group)) {
        continue;
      }
      root.error(root.line(), std::string(kind) + " of apiVersion " + shown(version) + " is not read",
                 "write apiVersion: " + api_version(row));
      return is_policy(row) ? &row : nullptr;
    }
    if (const KindRow* row = intended_policy(group, kind)) {
      root.error(root.line(), std::string(kind) + " of apiVersion " + shown(version) + " is not read",
                 "write apiVersion: " + api_version(*row) + ", kind: " + std::string(row->name));
      return row;
    }
    if (is_foreign_policy(kind)) {
      root.warn(root.line(),
                std::string(kind) + " of " + std::string(group) + " is not read: this policy is not enforced",
                "write it as NetworkPolicy, CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy");
      return nullptr;
    }
    if (group == kOurGroup) {
      const std::string_view near = nearest(kind, ours);
      root.error(root.line(), "unknown kind " + shown(kind) + " of " + std::string(kOurGroup),
                 near.empty() ? "write " + alternatives(ours) : "did you mean " + std::string(near) + "?");
    }
    return nullptr;
  }

  // The object's key; on an invalid name adds an error and returns nothing.
  [[nodiscard]] std::optional<ManifestKey> read_key(const YamlMap& metadata, const KindRow& row) const {
    ManifestKey key;
    key.object.kind = row.kind;
    key.cilium_node = row.read == read_cilium_node;
    key.object.cluster = row.scope == Scope::kFleet ? std::string() : cluster_;
    const YamlNode* name = metadata.require("name", "give the object a name");
    if (name == nullptr) {
      return std::nullopt;
    }
    key.object.name = name->text;
    if (!is_subdomain(key.object.name)) {
      metadata.error(name->line, "metadata.name is " + shown(key.object.name) + ", not a valid object name",
                     "write labels of a-z, 0-9 and -, joined by dots");
      return std::nullopt;
    }
    if (row.scope != Scope::kNamespace) {
      return key;
    }
    const YamlNode* ns = metadata.get("namespace");
    key.object.ns = ns == nullptr || ns->text.empty() ? "default" : ns->text;
    if (row.kind == ObjectKind::kSlice) {
      const std::string source = metadata.map("labels").text(kSourceClusterLabel);
      if (!source.empty() && !is_label(source)) {
        metadata.error(
            metadata.line(),
            "label " + std::string(kSourceClusterLabel) + " is " + shown(source) + ", not a valid cluster name",
            "fix the controller that imports the EndpointSlices");
        return std::nullopt;
      }
      key.object.cluster = source.empty() ? key.object.cluster : source;
    }
    if (!is_label(key.object.ns)) {
      metadata.error(ns == nullptr ? metadata.line() : ns->line,
                     "metadata.namespace is " + shown(key.object.ns) + ", not a valid namespace name",
                     "write 1 to 63 characters of a-z, 0-9 and -");
      return std::nullopt;
    }
    return key;
  }

  void read_object(const YamlMap& root, const KindRow& row, std::size_t errors_before) {
    const YamlMap metadata = root.map("metadata");
    const YamlMap labels = metadata.map("labels"), annotations = metadata.map("annotations");
    const auto key = read_key(metadata, row);
    if (!key) {
      out_.unreadable = true;
      return;
    }
    const bool in_fleet = cluster_.empty();
    if (in_fleet != (row.scope == Scope::kFleet)) {
      root.error(root.line(), std::string(row.name) + " " + key->object.name + " does not belong in this folder",
                 in_fleet ? "move it to clusters/<cluster>/ of the hub" : "move it to fleet/ of the hub");
      return;
    }
    if (row.kind == ObjectKind::kSlice && key->object.cluster == cluster_ &&
        !labels.text(kSourceClusterLabel).empty()) {
      ++out_.ignored;  // the cluster's own endpoints, imported back by the Multi-Cluster Services API
      return;
    }
    auto value = row.read({root, metadata, labels, annotations, key->object.name, key->object.ns});
    if (has_errors_since(errors_before)) {
      out_.invalid.push_back(*key);
      out_.invalid_errors.emplace_back(errors_before, out_.errors.size());
      add_refused(*key, root.line(), std::move(value));
    } else if (value) {
      out_.objects.push_back({*key, std::make_shared<const ObjectValue>(*std::move(value)), root.line()});
    } else {
      ++out_.ignored;
    }
  }

  void add_refused(const ManifestKey& key, unsigned line, std::optional<ObjectValue> value) {
    PolicyObject* policy = value ? std::get_if<PolicyObject>(&*value) : nullptr;
    if (policy != nullptr && !policy->specs.empty()) {
      policy->refused = true;
      out_.refused.push_back({key, std::make_shared<const ObjectValue>(*std::move(value)), line});
    }
  }

  const std::string& cluster_;
  ManifestDocument& out_;
};

std::shared_ptr<const ManifestDocument> read_document(std::string_view text, const std::string& cluster) {
  auto document = std::make_shared<ManifestDocument>();
  document->text = text;
  auto parsed = parse_yaml(text);
  if (auto* error = std::get_if<YamlError>(&parsed)) {
    document->errors.push_back(std::move(*error));
    document->unreadable = true;
    return document;
  }
  DocumentReader(cluster, *document).read(*std::get_if<YamlNode>(&parsed), "", "");
  return document;
}

std::string_view kind_name(const ManifestKey& key) {
  for (const KindRow& row : kKinds) {
    if (row.kind == key.object.kind && (row.read == read_cilium_node) == key.cilium_node) {
      return row.name;
    }
  }
  return "object";
}

}  // namespace

std::string describe(const ManifestKey& key) {
  std::string out(kind_name(key));
  out += " " + (key.object.ns.empty() ? "" : key.object.ns + "/") + key.object.name;
  return key.object.cluster.empty() ? out : out + " of cluster " + key.object.cluster;
}

void read_manifest_tree(const YamlNode& tree, const std::string& cluster, std::string_view version,
                        std::string_view kind, ManifestDocument& out) {
  DocumentReader(cluster, out).read(tree, version, kind);
}

std::shared_ptr<const ObjectValue> join_nodes(const std::shared_ptr<const ObjectValue>& node,
                                              const std::shared_ptr<const ObjectValue>& cilium) {
  if (!node || !cilium) {
    return node ? node : cilium;
  }
  NodeObject joined = std::get<NodeObject>(*cilium);
  const auto& other = std::get<NodeObject>(*node);
  const auto join = [](auto& into, const auto& from) {
    for (const auto& each : from) {
      if (std::find(into.begin(), into.end(), each) == into.end()) {
        into.push_back(each);
      }
    }
  };
  join(joined.addresses, other.addresses);
  join(joined.pod_prefixes, other.pod_prefixes);
  join(joined.inner, other.inner);
  joined.zone = other.zone;
  return std::make_shared<const ObjectValue>(std::move(joined));
}

Manifest parse_manifest(std::string_view text, const std::string& cluster, const Manifest* previous) {
  std::unordered_map<std::string_view, std::shared_ptr<const ManifestDocument>, absl::Hash<std::string_view>>
      previous_documents;
  if (previous != nullptr) {
    for (const Manifest::Entry& entry : previous->documents) {
      previous_documents.emplace(entry.document->text, entry.document);
    }
  }
  Manifest manifest;
  for (const YamlDocumentText& piece : split_documents(text)) {
    const auto known = previous_documents.find(piece.text);
    manifest.documents.push_back(
        {piece.first_line, known == previous_documents.end() ? read_document(piece.text, cluster) : known->second});
  }
  return manifest;
}

}  // namespace isthmus
