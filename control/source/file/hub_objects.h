// What all files of a hub say together: one version of every object, and the deltas from one look to the next.
// Pure; knows texts, not the disk. Thread: control.
//
// An object keeps its last good version while its document is at fault, and the objects of a file stay while any of its
// documents cannot be read (a file half written loses nothing). Of two files that hold one object the one that was
// there first stays in force, and the other is a problem that names both.
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

  // `place` (a path) now reads `text`, a manifest of `cluster` (empty: of the fleet).
  void set_text(const std::string& place, const std::string& cluster, std::string_view text);
  // `place` is there but cannot be read: everything read from it stays.
  void set_unreadable(const std::string& place, const std::string& why, const std::string& remedy);
  void remove(const std::string& place);

  // Changes since the last call, also of where a policy stands: removals first, dependants before what they depend on;
  // then the others the other way.
  [[nodiscard]] std::vector<ObjectDelta> take_deltas();
  // As of the last take_deltas().
  [[nodiscard]] std::vector<SourceProblem> problems() const;

  // Those behind which an object of one of the kinds may hide, or a second version of one.
  [[nodiscard]] std::vector<SourceProblem> problems_hiding(const std::set<ObjectKind>& kinds) const;

  struct Counts {
    std::size_t files = 0, objects = 0, ignored = 0;
  };
  [[nodiscard]] Counts counts() const;

 private:
  using Value = std::shared_ptr<const ObjectValue>;
  struct Held {
    Value value;
    unsigned line = 0;
  };
  struct Twice {
    ManifestKey key;
    unsigned first_line = 0, second_line = 0;
  };
  struct File {
    std::string place;
    Manifest manifest;
    std::map<ManifestKey, Held> held;
    std::set<ManifestKey> refused;
    std::vector<Twice> twice;
    bool kept_unseen = false;              // holds objects from before that the present text does not show
    std::optional<SourceProblem> problem;  // of the file as a whole
  };
  using FileRef = std::shared_ptr<const File>;
  // Everything known of one key. The entry goes when no file holds or refuses it.
  struct Entry {
    std::vector<FileRef> holders, refusers;
    FileRef owner;    // in force; may refuse it by now
    Value last_good;  // the owner's
  };

  File& file_at(const std::string& place);
  void apply(const std::shared_ptr<File>& file, std::map<ManifestKey, Held> held, std::set<ManifestKey> refused);
  // Decides which file is in force for a touched key; returns where the object was, for the message of a removal.
  Provenance settle(const ManifestKey& key);
  [[nodiscard]] Value effective(const ObjectKey& key) const;
  [[nodiscard]] bool stands(const ManifestKey& key) const;
  void add_document_problems(const File& file, const Manifest::Entry& entry, std::vector<SourceProblem>& out) const;
  static void add_twice_problem(const File& file, const Twice& twice, std::vector<SourceProblem>& out);
  void add_contested_problems(const ManifestKey& key, std::vector<SourceProblem>& out) const;

  std::map<std::string, std::shared_ptr<File>> files_;
  std::map<ManifestKey, Entry> entries_;
  std::set<ManifestKey> touched_;    // since the last take_deltas()
  std::set<ManifestKey> contested_;  // held by files beside the owner
  struct Published {
    Value value;
    Provenance provenance;
  };
  std::map<ObjectKey, Published> published_;
};

}  // namespace isthmus
