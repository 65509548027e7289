// Parses manifests into objects: the text of a file (several documents, Lists, YAML or JSON), or a tree that another
// source has parsed. Pure; nothing throws. Thread: any, no shared state. Failure: an invalid document affects only
// itself; its errors are listed and the objects of the others are used.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/yaml/tree.h"
#include "control/model/objects.h"

namespace isthmus {

// Labels of EndpointSlices imported by the Multi-Cluster Services API: the cluster of their endpoints, to which the
// slice is assigned here, and the Service in that cluster.
inline constexpr const char* kSourceClusterLabel = "multicluster.kubernetes.io/source-cluster";
inline constexpr const char* kImportedServiceLabel = "multicluster.kubernetes.io/service-name";

// The identity of an object in a file. A Node and the CiliumNode of the same name have two keys, but are one object in
// the model.
struct ManifestKey {
  ObjectKey object;
  bool cilium_node = false;
  friend auto operator<=>(const ManifestKey&, const ManifestKey&) = default;
};
// "Service shop/cart of cluster east", for messages.
[[nodiscard]] std::string describe(const ManifestKey& key);

struct ManifestObject {
  ManifestKey key;
  std::shared_ptr<const ObjectValue> value;
  unsigned line = 0;
};

// One document. Lines count from 1 within the document, so that moving it within the file does not change it.
struct ManifestDocument {
  std::string text;  // as it was in the file; empty: read from a tree
  std::vector<ManifestObject> objects;
  std::vector<ManifestKey> invalid;  // objects with errors: their last valid version stays in force
  // Policies among `invalid` whose subjects could be read: to apply where no valid version was seen. Rules with errors
  // allow nothing, and deny everybody.
  std::vector<ManifestObject> refused;
  std::vector<std::pair<std::size_t, std::size_t>>
      invalid_errors;       // of each of `invalid`: its range in `errors`, [a, b)
  bool unreadable = false;  // may contain objects whose names could not be read
  YamlErrors errors;        // a warning does not make an object invalid
  unsigned ignored = 0;     // objects of kinds that are not read
};

struct Manifest {
  struct Entry {
    unsigned first_line = 1;  // of the document, in the file
    std::shared_ptr<const ManifestDocument> document;
    [[nodiscard]] unsigned line_in_file(unsigned line) const noexcept { return first_line + (line > 0 ? line - 1 : 0); }
  };
  std::vector<Entry> documents;
};

// Parses `text` as a manifest of `cluster`; empty: of the fleet. Documents whose text is also in `previous` are shared
// with it instead of parsed again.
[[nodiscard]] Manifest parse_manifest(std::string_view text, const std::string& cluster,
                                      const Manifest* previous = nullptr);

// Reads a tree (an object, or a List) into `out`. `version` and `kind` are the defaults for items of a list that omit
// them.
void read_manifest_tree(const YamlNode& tree, const std::string& cluster, std::string_view version,
                        std::string_view kind, ManifestDocument& out);

// Merges a Node and the CiliumNode of the same name. Either may be null; then the other is returned.
[[nodiscard]] std::shared_ptr<const ObjectValue> join_nodes(const std::shared_ptr<const ObjectValue>& node,
                                                            const std::shared_ptr<const ObjectValue>& cilium_node);

}  // namespace isthmus
