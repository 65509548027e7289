// Manifests as objects: the text of a file (several documents, Lists, YAML or JSON), or a tree that another source has
// read. Pure; nothing throws. Thread: any, nothing is shared. A document that cannot be used costs only itself: its
// faults are listed, the others' objects stand.
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

// On EndpointSlices that the Multi-Cluster Services API imported: the cluster whose endpoints they hold, of whose
// objects they are here, and the Service there.
inline constexpr const char* kSourceClusterLabel = "multicluster.kubernetes.io/source-cluster";
inline constexpr const char* kImportedServiceLabel = "multicluster.kubernetes.io/service-name";

// An object as a file names it. Node and CiliumNode of one name are two of these, and one object in the model.
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

// One document. Lines count from 1 within it, so that a document that only moved is the same document.
struct ManifestDocument {
  std::size_t hash = 0, bytes = 0;  // of its text
  std::vector<ManifestObject> objects;
  std::vector<ManifestKey> refused;  // named here, but at fault: their last good version stands
  std::vector<std::pair<std::size_t, std::size_t>> refused_for;  // of each of them, its faults: first and past the last
  bool unreadable = false;                                       // it may hold objects whose names could not be read
  YamlFaults faults;                                             // warnings among them do not hold an object back
  unsigned ignored = 0;                                          // objects of kinds that are not read
};

struct Manifest {
  struct Entry {
    unsigned first_line = 1;  // of the document, in the file
    std::shared_ptr<const ManifestDocument> document;
    [[nodiscard]] unsigned line_in_file(unsigned line) const noexcept { return first_line + (line > 0 ? line - 1 : 0); }
  };
  std::vector<Entry> documents;
};

// Reads `text` as a manifest of `cluster`, or of the fleet when that is empty. Documents whose text stands in `before`
// too are taken from there unread.
[[nodiscard]] Manifest parse_manifest(std::string_view text, const std::string& cluster,
                                      const Manifest* before = nullptr);

// Reads a tree (an object, or a List of them) into `out`; `version` and `kind` stand in where an item of a list leaves
// its own out.
void read_manifest_tree(const YamlNode& tree, const std::string& cluster, std::string_view version,
                        std::string_view kind, ManifestDocument& out);

// A Node and the CiliumNode of its name as one object. Either may be null, and counts for both then.
[[nodiscard]] std::shared_ptr<const ObjectValue> join_nodes(const std::shared_ptr<const ObjectValue>& node,
                                                            const std::shared_ptr<const ObjectValue>& cilium_node);

}  // namespace isthmus
