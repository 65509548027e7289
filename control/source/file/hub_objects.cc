#include "control/source/file/hub_objects.h"

#include <algorithm>
#include <utility>

#include "config/yaml/read.h"

namespace isthmus {
namespace {

template <typename T>
void erase_value(std::vector<T>& list, const T& value) {
  list.erase(std::remove(list.begin(), list.end(), value), list.end());
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

bool same_value(const std::shared_ptr<const ObjectValue>& a, const std::shared_ptr<const ObjectValue>& b) {
  return a == b || (a && b && *a == *b);
}

bool is_policy(ObjectKind kind) {
  return kind == ObjectKind::kNetworkPolicy || kind == ObjectKind::kCiliumPolicy ||
         kind == ObjectKind::kClusterwidePolicy;
}

}  // namespace

HubObjects::File& HubObjects::file_at(const std::string& path, const std::string& cluster) {
  auto& slot = files_[path];
  if (!slot) {
    slot = std::make_shared<File>();
    slot->path = path;
    slot->cluster = cluster;
  }
  return *slot;
}

void HubObjects::set_text(const std::string& path, const std::string& cluster, std::string_view text) {
  File& file = file_at(path, cluster);
  file.blank = is_blank(text);
  if (file.blank && !file.objects.empty()) {
    set_unreadable(path, cluster, "the file is empty", "write the objects again, or delete the file to remove them");
    return;
  }
  file.problem.reset();
  file.manifest = parse_manifest(text, cluster, &file.manifest);
  file.duplicates.clear();
  Contents now;
  bool unreadable = false;
  for (const Manifest::Entry& entry : file.manifest.documents) {
    unreadable = unreadable || entry.document->unreadable;
    now.invalid.insert(entry.document->invalid.begin(), entry.document->invalid.end());
    for (const ManifestObject& object : entry.document->refused) {
      now.refused.try_emplace(object.key, Version{object.value, entry.line_in_file(object.line)});
    }
    for (const ManifestObject& object : entry.document->objects) {
      const unsigned line = entry.line_in_file(object.line);
      const auto [at, added] = now.objects.try_emplace(object.key, Version{object.value, line});
      if (!added) {
        file.duplicates.push_back({object.key, at->second.line, line});
      }
    }
  }
  const std::size_t seen = now.objects.size();
  if (unreadable) {
    retain_unseen(file, now);
  }
  file.has_retained = now.objects.size() != seen;
  apply(files_[path], std::move(now));
}

// Keeps what the text before contained and this one, which cannot be read whole, does not.
void HubObjects::retain_unseen(const File& before, Contents& now) {
  for (const auto& [key, version] : before.objects) {
    if (!now.invalid.contains(key)) {
      now.objects.try_emplace(key, version);
    }
  }
  for (const auto& [key, version] : before.refused) {
    if (!now.objects.contains(key) && now.invalid.insert(key).second) {
      now.refused.try_emplace(key, version);
    }
  }
}

void HubObjects::set_unreadable(const std::string& path, const std::string& cluster, const std::string& why,
                                const std::string& fix) {
  File& file = file_at(path, cluster);
  const std::string stays = file.objects.empty() ? "" : "; what was read from it before stays in force";
  file.problem = SourceProblem{{path, 0}, why + stays, fix};
}

void HubObjects::remove(const std::string& path) {
  const auto found = files_.find(path);
  if (found != files_.end()) {
    apply(found->second, {});
    files_.erase(found);
  }
}

// Updates the entries of every key that `file` defines, or defined before.
void HubObjects::apply(const std::shared_ptr<File>& file, Contents now) {
  const FileRef ref = file;
  for (const auto& [key, before] : file->objects) {
    if (!now.objects.contains(key)) {
      erase_value(entries_[key].valid_in, ref);
      touched_.insert(key);
    }
  }
  for (const auto& [key, version] : now.objects) {
    const auto before = file->objects.find(key);
    if (before == file->objects.end()) {
      entries_[key].valid_in.push_back(ref);
      touched_.insert(key);
    } else if (before->second.value != version.value || before->second.line != version.line) {
      touched_.insert(key);
    }
  }
  for (const ManifestKey& key : file->invalid) {
    if (!now.invalid.contains(key)) {
      erase_value(entries_[key].invalid_in, ref);
      touched_.insert(key);
    }
  }
  for (const ManifestKey& key : now.invalid) {
    if (!file->invalid.contains(key)) {
      entries_[key].invalid_in.push_back(ref);
      touched_.insert(key);
    }
  }
  for (const auto& [key, version] : now.refused) {
    const auto before = file->refused.find(key);
    if (before == file->refused.end() || before->second.value != version.value || before->second.line != version.line) {
      touched_.insert(key);
    }
  }
  for (const auto& [key, before] : file->refused) {
    if (!now.refused.contains(key)) {
      touched_.insert(key);
    }
  }
  file->objects = std::move(now.objects);
  file->invalid = std::move(now.invalid);
  file->refused = std::move(now.refused);
}

Provenance HubObjects::select_owner(const ManifestKey& key) {
  Entry& entry = entries_[key];
  const Provenance was{entry.owner ? entry.owner->path : std::string(), 0};
  const auto contains = [](const std::vector<FileRef>& files, const FileRef& file) {
    return std::find(files.begin(), files.end(), file) != files.end();
  };
  if (entry.valid_in.empty() && entry.invalid_in.empty()) {
    conflicting_.erase(key);
    entries_.erase(key);
    return was;
  }
  const bool owner_exists = contains(entry.valid_in, entry.owner) || contains(entry.invalid_in, entry.owner);
  if (!owner_exists || !entry.last_good) {
    entry.owner = entry.valid_in.empty() ? entry.invalid_in.front() : entry.valid_in.front();
  }
  bool conflicting = false;
  for (const FileRef& file : entry.valid_in) {
    if (file == entry.owner) {
      entry.last_good = file->objects.at(key).value;
    } else {
      conflicting = true;
    }
  }
  if (conflicting) {
    conflicting_.insert(key);
  } else {
    conflicting_.erase(key);
  }
  return was;
}

HubObjects::Value HubObjects::effective(const ObjectKey& key) const {
  const auto last_good = [&](bool cilium_node) {
    const auto entry = entries_.find({key, cilium_node});
    return entry == entries_.end() ? Value() : entry->second.last_good;
  };
  if (is_policy(key.kind)) {
    const auto entry = entries_.find({key, false});
    if (entry != entries_.end() && !entry->second.last_good && entry->second.owner) {
      const auto& refused = entry->second.owner->refused;
      const auto version = refused.find({key, false});
      return version == refused.end() ? Value() : version->second.value;
    }
  }
  return key.kind == ObjectKind::kNode ? join_nodes(last_good(false), last_good(true)) : last_good(false);
}

std::vector<ObjectDelta> HubObjects::take_deltas() {
  std::vector<std::pair<ManifestKey, Provenance>> settled;
  for (const ManifestKey& key : touched_) {
    settled.emplace_back(key, select_owner(key));
  }
  touched_.clear();
  std::vector<ObjectDelta> removed, changed;
  for (auto& [key, provenance] : settled) {
    Value now = effective(key.object);
    const auto before = published_.find(key.object);
    if (before == published_.end() && !now) {
      continue;
    }
    if (!now) {
      removed.push_back({key.object, std::nullopt, std::move(provenance)});
      published_.erase(before);
      continue;
    }
    if (const auto entry = entries_.find(key); entry != entries_.end() && entry->second.owner) {
      const File& owner = *entry->second.owner;
      const auto& versions = entry->second.last_good ? owner.objects : owner.refused;
      const auto version = versions.find(key);
      provenance = {owner.path, version == versions.end() ? 0 : version->second.line};
    }
    if (before != published_.end() && same_value(before->second.value, now)) {
      // A policy's location is part of it: its rules are identified by their lines. An invalid version has no line.
      const bool moved = before->second.provenance.text() != provenance.text();
      if (!moved || provenance.line == 0 || !is_policy(key.object.kind)) {
        continue;
      }
    }
    published_[key.object] = {now, provenance};
    changed.push_back({key.object, *now, std::move(provenance)});
  }
  // A kind is numbered above the kinds it depends on, and keys sort by kind first.
  std::reverse(removed.begin(), removed.end());
  removed.insert(removed.end(), std::make_move_iterator(changed.begin()), std::make_move_iterator(changed.end()));
  return removed;
}

bool HubObjects::is_in_force(const ManifestKey& key) const {
  const auto entry = entries_.find(key);
  return entry != entries_.end() && entry->second.last_good != nullptr;
}

std::string HubObjects::consequence(const File& file, const ManifestDocument& document) const {
  const auto in_force = [this](const ManifestKey& key) { return is_in_force(key); };
  if ((document.unreadable && file.has_retained) ||
      std::any_of(document.invalid.begin(), document.invalid.end(), in_force)) {
    return std::string(kPreviousApplies);
  }
  return document.refused.empty() ? "" : std::string(kPolicyIsClosed);
}

void HubObjects::add_document_problems(const File& file, const Manifest::Entry& entry,
                                       std::vector<SourceProblem>& out) const {
  const ManifestDocument& document = *entry.document;
  const std::string note = consequence(file, document);
  for (std::size_t i = 0; i < document.errors.size(); ++i) {
    const YamlError& error = document.errors[i];
    SourceProblem problem{
        {file.path, entry.line_in_file(error.line)}, error.what + (error.warning ? "" : note), error.fix};
    for (std::size_t r = 0; r < document.invalid.size(); ++r) {
      const auto& [first, last] = document.invalid_errors[r];
      if (!error.warning && first <= i && i < last) {
        problem.object = document.invalid[r].object;
      }
    }
    out.push_back(std::move(problem));
  }
}

void HubObjects::add_duplicate_problem(const File& file, const Duplicate& duplicate, std::vector<SourceProblem>& out) {
  out.push_back({{file.path, duplicate.second_line},
                 describe(duplicate.key) + " is also defined in line " + std::to_string(duplicate.first_line) +
                     ", which is in force",
                 "keep one of them"});
}

void HubObjects::add_conflict_problems(const ManifestKey& key, std::vector<SourceProblem>& out) const {
  const Entry& entry = entries_.at(key);
  const auto in_force = entry.owner->objects.find(key);
  const Provenance owner{entry.owner->path, in_force == entry.owner->objects.end() ? 0 : in_force->second.line};
  for (const FileRef& file : entry.valid_in) {
    if (file != entry.owner) {
      out.push_back({{file->path, file->objects.at(key).line},
                     describe(key) + " is also defined in " + owner.text() + ", which is in force",
                     "keep it in one file"});
    }
  }
}

std::vector<SourceProblem> HubObjects::problems() const {
  std::vector<SourceProblem> out;
  for (const auto& [path, file] : files_) {
    if (file->problem) {
      out.push_back(*file->problem);
      continue;
    }
    for (const Manifest::Entry& entry : file->manifest.documents) {
      add_document_problems(*file, entry, out);
    }
    for (const Duplicate& duplicate : file->duplicates) {
      add_duplicate_problem(*file, duplicate, out);
    }
  }
  for (const ManifestKey& key : conflicting_) {
    add_conflict_problems(key, out);
  }
  return out;
}

std::vector<SourceProblem> HubObjects::problems_hiding(const std::set<ObjectKind>& kinds) const {
  const auto of_kinds = [&](const ManifestKey& key) { return kinds.contains(key.object.kind); };
  std::vector<SourceProblem> out;
  for (const auto& [path, file] : files_) {
    if (file->problem) {
      out.push_back(*file->problem);
      continue;
    }
    for (const Manifest::Entry& entry : file->manifest.documents) {
      const ManifestDocument& document = *entry.document;
      if (document.unreadable || std::any_of(document.invalid.begin(), document.invalid.end(), of_kinds)) {
        add_document_problems(*file, entry, out);
      }
    }
    for (const Duplicate& duplicate : file->duplicates) {
      if (of_kinds(duplicate.key)) {
        add_duplicate_problem(*file, duplicate, out);
      }
    }
  }
  for (const ManifestKey& key : conflicting_) {
    if (of_kinds(key)) {
      add_conflict_problems(key, out);
    }
  }
  return out;
}

HubObjects::Hidden HubObjects::hidden(const std::string& cluster) const {
  Hidden hidden;
  for (const auto& [path, file] : files_) {
    if (file->cluster != cluster) {
      continue;
    }
    hidden.anything = hidden.anything || file->problem || file->blank;
    for (const Manifest::Entry& entry : file->manifest.documents) {
      hidden.anything = hidden.anything || entry.document->unreadable;
      for (const ManifestKey& key : entry.document->invalid) {
        hidden.kinds.insert(key.object.kind);
      }
    }
  }
  return hidden;
}

HubObjects::Counts HubObjects::counts() const {
  Counts counts{files_.size(), published_.size(), 0};
  for (const auto& [path, file] : files_) {
    for (const Manifest::Entry& entry : file->manifest.documents) {
      counts.ignored += entry.document->ignored;
    }
  }
  return counts;
}

}  // namespace isthmus
