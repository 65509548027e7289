#include "control/source/manifest/manifest.h"

#include <algorithm>
#include <array>
#include <functional>
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
constexpr std::array<KindRow, 16> kKinds{{
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

// Reads the objects of one document into it.
class DocumentReader {
 public:
  DocumentReader(const std::string& cluster, ManifestDocument& out) : cluster_(cluster), out_(out) {}

  void read(const YamlNode& node, std::string_view list_version, std::string_view list_kind) {
    if (node.kind == YamlNode::Kind::kNull) {
      return;
    }
    const std::size_t before = out_.faults.size();
    const YamlMap root(&node, "", node.line, out_.faults);
    std::string version = root.text("apiVersion"), kind = root.text("kind");
    version = version.empty() ? std::string(list_version) : version;
    kind = kind.empty() ? std::string(list_kind) : kind;
    if (!root.present() || version.empty() || kind.empty()) {
      if (root.present()) {
        root.fault(root.line(), version.empty() ? "the object has no apiVersion" : "the object has no kind",
                   "write apiVersion: and kind: as Kubernetes manifests have them");
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
      pass_over(root, version, before);
    }
  }

 private:
  // An object of a kind we do not read. One without a name may be half of one that we do.
  void pass_over(const YamlMap& root, std::string_view version, std::size_t faults_before) {
    const bool tool_file = version.substr(0, version.find('/')).ends_with("config.k8s.io");
    if (!fatal_since(faults_before) && !tool_file) {
      (void)root.map("metadata").require("name", "give the object a name");
    }
    if (fatal_since(faults_before)) {
      out_.unreadable = true;
    } else {
      ++out_.ignored;
    }
  }

  // Whether a fault that is no mere warning was added after the first `count`.
  [[nodiscard]] bool fatal_since(std::size_t count) const {
    return std::any_of(out_.faults.begin() + static_cast<std::ptrdiff_t>(count), out_.faults.end(),
                       [](const YamlFault& fault) { return !fault.warning; });
  }

  void read_list_kind(const YamlMap& root, std::string_view version, std::string_view kind) {
    const std::size_t before = out_.faults.size();
    const auto& items = root.list("items");
    out_.unreadable = out_.unreadable || fatal_since(before);
    for (const YamlNode& item : items) {
      read(item, version, kind.empty() ? kind : kind.substr(0, kind.size() - 4));
    }
  }

  // The row of a kind we read. Null for others: silently for what is Kubernetes' own business, with a fault for kinds
  // that claim to be ours and versions that we cannot read.
  [[nodiscard]] static const KindRow* find_kind(const YamlMap& root, std::string_view version, std::string_view kind) {
    const auto slash = version.find('/');
    const std::string_view group = slash == std::string_view::npos ? std::string_view() : version.substr(0, slash);
    const std::string_view number = slash == std::string_view::npos ? version : version.substr(slash + 1);
    std::vector<std::string_view> ours;
    for (const KindRow& row : kKinds) {
      if (row.group == kOurGroup) {
        ours.push_back(row.name);
      }
      if (row.name != kind || (row.group != group && !group.empty())) {
        continue;
      }
      if (row.group == group && has_word(row.versions, number)) {
        return &row;
      }
      root.fault(root.line(), std::string(kind) + " of apiVersion " + shown(version) + " is not read",
                 "write apiVersion: " + api_version(row));
      return nullptr;
    }
    if (group == kOurGroup) {
      const std::string_view near = nearest(kind, ours);
      root.fault(root.line(), "unknown kind " + shown(kind) + " of " + std::string(kOurGroup),
                 near.empty() ? "write " + alternatives(ours) : "did you mean " + std::string(near) + "?");
    }
    return nullptr;
  }

  // The object's key; nothing, with a fault, when its name cannot be read.
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
      metadata.fault(name->line, "metadata.name is " + shown(key.object.name) + ", not an object's name",
                     "write words of a-z, 0-9 and - joined by dots");
      return std::nullopt;
    }
    if (row.scope != Scope::kNamespace) {
      return key;
    }
    const YamlNode* name_space = metadata.get("namespace");
    key.object.name_space = name_space == nullptr || name_space->text.empty() ? "default" : name_space->text;
    if (row.kind == ObjectKind::kSlice) {
      const std::string source = metadata.map("labels").text(kSourceClusterLabel);
      if (!source.empty() && !is_label(source)) {
        metadata.fault(metadata.line(),
                       "label " + std::string(kSourceClusterLabel) + " is " + shown(source) + ", not a cluster's name",
                       "mend what writes the imported EndpointSlices");
        return std::nullopt;
      }
      key.object.cluster = source.empty() ? key.object.cluster : source;
    }
    if (!is_label(key.object.name_space)) {
      metadata.fault(name_space == nullptr ? metadata.line() : name_space->line,
                     "metadata.namespace is " + shown(key.object.name_space) + ", not a namespace's name",
                     "write 1 to 63 characters of a-z, 0-9 and -");
      return std::nullopt;
    }
    return key;
  }

  void read_object(const YamlMap& root, const KindRow& row, std::size_t faults_before) {
    const YamlMap metadata = root.map("metadata");
    const YamlMap labels = metadata.map("labels"), annotations = metadata.map("annotations");
    const auto key = read_key(metadata, row);
    if (!key) {
      out_.unreadable = true;
      return;
    }
    const bool in_fleet = cluster_.empty();
    if (in_fleet != (row.scope == Scope::kFleet)) {
      root.fault(root.line(), std::string(row.name) + " " + key->object.name + " does not belong in this folder",
                 in_fleet ? "move it to clusters/<cluster>/ of the hub" : "move it to fleet/ of the hub");
      return;
    }
    if (row.kind == ObjectKind::kSlice && key->object.cluster == cluster_ &&
        !labels.text(kSourceClusterLabel).empty()) {
      ++out_.ignored;  // its own endpoints, seen through the multi-cluster API
      return;
    }
    auto value = row.read({root, metadata, labels, annotations, key->object.name, key->object.name_space});
    if (fatal_since(faults_before)) {
      out_.refused.push_back(*key);
      out_.refused_for.emplace_back(faults_before, out_.faults.size());
    } else if (value) {
      out_.objects.push_back({*key, std::make_shared<const ObjectValue>(*std::move(value)), root.line()});
    } else {
      ++out_.ignored;
    }
  }

  const std::string& cluster_;
  ManifestDocument& out_;
};

std::shared_ptr<const ManifestDocument> read_document(std::string_view text, const std::string& cluster) {
  auto document = std::make_shared<ManifestDocument>();
  document->hash = std::hash<std::string_view>{}(text);
  document->bytes = text.size();
  auto parsed = parse_yaml(text);
  if (auto* fault = std::get_if<YamlFault>(&parsed)) {
    document->faults.push_back(std::move(*fault));
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
  out += " " + (key.object.name_space.empty() ? "" : key.object.name_space + "/") + key.object.name;
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
  return std::make_shared<const ObjectValue>(std::move(joined));
}

Manifest parse_manifest(std::string_view text, const std::string& cluster, const Manifest* before) {
  std::unordered_multimap<std::size_t, std::shared_ptr<const ManifestDocument>> known;
  if (before != nullptr) {
    for (const Manifest::Entry& entry : before->documents) {
      known.emplace(entry.document->hash, entry.document);
    }
  }
  Manifest manifest;
  for (const YamlDocumentText& piece : split_documents(text)) {
    std::shared_ptr<const ManifestDocument> document;
    if (!known.empty()) {
      const auto found = known.find(std::hash<std::string_view>{}(piece.text));
      document = found != known.end() && found->second->bytes == piece.text.size() ? found->second : nullptr;
    }
    manifest.documents.push_back({piece.first_line, document ? document : read_document(piece.text, cluster)});
  }
  return manifest;
}

}  // namespace isthmus
