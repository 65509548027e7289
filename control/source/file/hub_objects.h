// Combines all files of a hub: one version of every object, and the deltas from one call to the next.
// Pure: takes texts and does not touch the disk. Thread: control.
//
// An object keeps its last valid version while its document is invalid, and a file keeps its objects while any of its
// documents cannot be read, so that a half-written file removes nothing. An invalid policy without a valid version
// closes its subjects where those can be read (ManifestDocument::refused). If two files define one object, the file
// that was first stays in force, and the other is a problem that names both.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "control/model/objects.h"
#include "control/source/manifest/manifest.h"

namespace isthmus {

class HubObjects {
 public:
  HubObjects() = default;
  HubObjects(const HubObjects&) = delete;
  HubObjects& operator=(const HubObjects&) = delete;

  // The file at `path` now contains `text`, a manifest of `cluster` (empty: of the fleet).
  void set_text(const std::string& path, const std::string& cluster, std::string_view text);
  // The file at `path` exists but cannot be read: its objects stay.
  void set_unreadable(const std::string& path, const std::string& cluster, const std::string& why,
                      const std::string& fix);
  void remove(const std::string& path);

  // Changes since the last call, including a policy's change of file or line. Removals first, dependants before what
  // they depend on; then the rest in the opposite order.
  [[nodiscard]] std::vector<ObjectDelta> take_deltas();
  // As of the last take_deltas().
  [[nodiscard]] std::vector<SourceProblem> problems() const;

  // The problems that may conceal an object of one of the kinds, or a second version of one.
  [[nodiscard]] std::vector<SourceProblem> problems_hiding(const std::set<ObjectKind>& kinds) const;

  // What files of one cluster (empty: of the fleet) may contain beyond what they give at present.
  struct Hidden {
    bool anything = false;       // a file or a document that cannot be read, or an empty file
    std::set<ObjectKind> kinds;  // objects that are invalid
  };
  [[nodiscard]] Hidden hidden(const std::string& cluster) const;

  struct Counts {
    std::size_t files = 0, objects = 0, ignored = 0;
  };
  [[nodiscard]] Counts counts() const;

 private:
  using Value = std::shared_ptr<const ObjectValue>;
  struct Version {
    Value value;
    unsigned line = 0;
  };
  struct Duplicate {
    ManifestKey key;
    unsigned first_line = 0, second_line = 0;
  };
  struct File {
    std::string path, cluster;
    Manifest manifest;
    std::map<ManifestKey, Version> objects;
    std::set<ManifestKey> invalid;
    std::map<ManifestKey, Version> refused;  // of `invalid`: policies that close their subjects
    std::vector<Duplicate> duplicates;
    bool blank = false;
    bool has_retained = false;             // has objects of an earlier text that the current one does not contain
    std::optional<SourceProblem> problem;  // of the file as a whole
  };
  using FileRef = std::shared_ptr<const File>;
  // State of one key. Removed when no file defines it, valid or not.
  struct Entry {
    std::vector<FileRef> valid_in, invalid_in;
    FileRef owner;    // the file in force; its current text may be invalid
    Value last_good;  // of the owner
  };

  File& file_at(const std::string& path, const std::string& cluster);
  // What a text contains, by key.
  struct Contents {
    std::map<ManifestKey, Version> objects, refused;
    std::set<ManifestKey> invalid;
  };
  void apply(const std::shared_ptr<File>& file, Contents now);
  static void retain_unseen(const File& before, Contents& now);
  // Selects the file in force for a touched key. Returns the file it was in before, for the delta of a removal.
  Provenance select_owner(const ManifestKey& key);
  [[nodiscard]] Value effective(const ObjectKey& key) const;
  [[nodiscard]] bool is_in_force(const ManifestKey& key) const;
  // The note on a document's errors: what of its objects applies all the same.
  [[nodiscard]] std::string consequence(const File& file, const ManifestDocument& document) const;
  void add_document_problems(const File& file, const Manifest::Entry& entry, std::vector<SourceProblem>& out) const;
  static void add_duplicate_problem(const File& file, const Duplicate& duplicate, std::vector<SourceProblem>& out);
  void add_conflict_problems(const ManifestKey& key, std::vector<SourceProblem>& out) const;

  std::map<std::string, std::shared_ptr<File>> files_;
  std::map<ManifestKey, Entry> entries_;
  std::set<ManifestKey> touched_;      // since the last take_deltas()
  std::set<ManifestKey> conflicting_;  // also defined by files other than the owner
  struct Published {
    Value value;
    Provenance provenance;
  };
  std::map<ObjectKey, Published> published_;
};

}  // namespace isthmus
