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

constexpr auto kStays = "; the version read before stays in force";

}  // namespace

HubObjects::File& HubObjects::file_at(const std::string& place) {
  auto& slot = files_[place];
  if (!slot) {
    slot = std::make_shared<File>();
    slot->place = place;
  }
  return *slot;
}

void HubObjects::set_text(const std::string& place, const std::string& cluster, std::string_view text) {
  File& file = file_at(place);
  if (is_blank(text) && !file.held.empty()) {
    set_unreadable(place, "the file is empty", "write the objects again, or delete the file to remove them");
    return;
  }
  file.problem.reset();
  file.manifest = parse_manifest(text, cluster, &file.manifest);
  file.twice.clear();
  std::map<ManifestKey, Held> held;
  std::set<ManifestKey> refused;
  bool unreadable = false;
  for (const Manifest::Entry& entry : file.manifest.documents) {
    unreadable = unreadable || entry.document->unreadable;
    refused.insert(entry.document->refused.begin(), entry.document->refused.end());
    for (const ManifestObject& object : entry.document->objects) {
      const unsigned line = entry.line_in_file(object.line);
      const auto [at, added] = held.try_emplace(object.key, Held{object.value, line});
      if (!added) {
        file.twice.push_back({object.key, at->second.line, line});
      }
    }
  }
  const std::size_t seen = held.size();
  if (unreadable) {
    for (const auto& [key, before] : file.held) {
      if (!refused.contains(key)) {
        held.try_emplace(key, before);
      }
    }
  }
  file.kept_unseen = held.size() != seen;
  apply(files_[place], std::move(held), std::move(refused));
}

void HubObjects::set_unreadable(const std::string& place, const std::string& why, const std::string& remedy) {
  File& file = file_at(place);
  const std::string stays = file.held.empty() ? "" : "; what was read from it before stays in force";
  file.problem = SourceProblem{{place, 0}, why + stays, remedy};
}

void HubObjects::remove(const std::string& place) {
  const auto found = files_.find(place);
  if (found != files_.end()) {
    apply(found->second, {}, {});
    files_.erase(found);
  }
}

// Brings the entries in line with what `file` holds and refuses now.
void HubObjects::apply(const std::shared_ptr<File>& file, std::map<ManifestKey, Held> held,
                       std::set<ManifestKey> refused) {
  const FileRef ref = file;
  for (const auto& [key, before] : file->held) {
    if (!held.contains(key)) {
      erase_value(entries_[key].holders, ref);
      touched_.insert(key);
    }
  }
  for (const auto& [key, now] : held) {
    const auto before = file->held.find(key);
    if (before == file->held.end()) {
      entries_[key].holders.push_back(ref);
      touched_.insert(key);
    } else if (before->second.value != now.value || before->second.line != now.line) {
      touched_.insert(key);
    }
  }
  for (const ManifestKey& key : file->refused) {
    if (!refused.contains(key)) {
      erase_value(entries_[key].refusers, ref);
      touched_.insert(key);
    }
  }
  for (const ManifestKey& key : refused) {
    if (!file->refused.contains(key)) {
      entries_[key].refusers.push_back(ref);
      touched_.insert(key);
    }
  }
  file->held = std::move(held);
  file->refused = std::move(refused);
}

Provenance HubObjects::settle(const ManifestKey& key) {
  Entry& entry = entries_[key];
  const Provenance was{entry.owner ? entry.owner->place : std::string(), 0};
  const auto contains = [](const std::vector<FileRef>& files, const FileRef& file) {
    return std::find(files.begin(), files.end(), file) != files.end();
  };
  if (entry.holders.empty() && entry.refusers.empty()) {
    contested_.erase(key);
    entries_.erase(key);
    return was;
  }
  const bool owner_stands = contains(entry.holders, entry.owner) || contains(entry.refusers, entry.owner);
  if (!owner_stands || !entry.last_good) {
    entry.owner = entry.holders.empty() ? entry.refusers.front() : entry.holders.front();
  }
  bool contested = false;
  for (const FileRef& holder : entry.holders) {
    if (holder == entry.owner) {
      entry.last_good = holder->held.at(key).value;
    } else {
      contested = true;
    }
  }
  if (contested) {
    contested_.insert(key);
  } else {
    contested_.erase(key);
  }
  return was;
}

HubObjects::Value HubObjects::effective(const ObjectKey& key) const {
  const auto last_good = [&](bool cilium_node) {
    const auto entry = entries_.find({key, cilium_node});
    return entry == entries_.end() ? Value() : entry->second.last_good;
  };
  return key.kind == ObjectKind::kNode ? join_nodes(last_good(false), last_good(true)) : last_good(false);
}

std::vector<ObjectDelta> HubObjects::take_deltas() {
  std::vector<std::pair<ManifestKey, Provenance>> settled;
  for (const ManifestKey& key : touched_) {
    settled.emplace_back(key, settle(key));
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
      const auto held = owner.held.find(key);
      provenance = {owner.place, held == owner.held.end() ? 0 : held->second.line};
    }
    if (before != published_.end() && same_value(before->second.value, now)) {
      // A policy's place counts too: its rules are known by their lines. A refused version has no line.
      const bool moved = before->second.provenance.text() != provenance.text();
      if (!moved || provenance.line == 0 || !is_policy(key.object.kind)) {
        continue;
      }
    }
    published_[key.object] = {now, provenance};
    changed.push_back({key.object, *now, std::move(provenance)});
  }
  // The kinds are numbered from what others depend on, and keys sort by kind.
  std::reverse(removed.begin(), removed.end());
  removed.insert(removed.end(), std::make_move_iterator(changed.begin()), std::make_move_iterator(changed.end()));
  return removed;
}

bool HubObjects::stands(const ManifestKey& key) const {
  const auto entry = entries_.find(key);
  return entry != entries_.end() && entry->second.last_good != nullptr;
}

void HubObjects::add_document_problems(const File& file, const Manifest::Entry& entry,
                                       std::vector<SourceProblem>& out) const {
  const ManifestDocument& document = *entry.document;
  const bool stays =
      (document.unreadable && file.kept_unseen) || std::any_of(document.refused.begin(), document.refused.end(),
                                                               [this](const ManifestKey& key) { return stands(key); });
  for (std::size_t i = 0; i < document.faults.size(); ++i) {
    const YamlFault& fault = document.faults[i];
    SourceProblem problem{{file.place, entry.line_in_file(fault.line)},
                          fault.what + (stays && !fault.warning ? kStays : ""),
                          fault.remedy};
    for (std::size_t r = 0; r < document.refused.size(); ++r) {
      const auto& [first, last] = document.refused_for[r];
      if (!fault.warning && first <= i && i < last) {
        problem.object = document.refused[r].object;
      }
    }
    out.push_back(std::move(problem));
  }
}

void HubObjects::add_twice_problem(const File& file, const Twice& twice, std::vector<SourceProblem>& out) {
  out.push_back(
      {{file.place, twice.second_line},
       describe(twice.key) + " also stands in line " + std::to_string(twice.first_line) + ", which is in force",
       "keep one of them"});
}

void HubObjects::add_contested_problems(const ManifestKey& key, std::vector<SourceProblem>& out) const {
  const Entry& entry = entries_.at(key);
  const auto in_force = entry.owner->held.find(key);
  const Provenance owner{entry.owner->place, in_force == entry.owner->held.end() ? 0 : in_force->second.line};
  for (const FileRef& holder : entry.holders) {
    if (holder != entry.owner) {
      out.push_back({{holder->place, holder->held.at(key).line},
                     describe(key) + " also stands in " + owner.text() + ", which is in force",
                     "keep it in one file"});
    }
  }
}

std::vector<SourceProblem> HubObjects::problems() const {
  std::vector<SourceProblem> out;
  for (const auto& [place, file] : files_) {
    if (file->problem) {
      out.push_back(*file->problem);
      continue;
    }
    for (const Manifest::Entry& entry : file->manifest.documents) {
      add_document_problems(*file, entry, out);
    }
    for (const Twice& twice : file->twice) {
      add_twice_problem(*file, twice, out);
    }
  }
  for (const ManifestKey& key : contested_) {
    add_contested_problems(key, out);
  }
  return out;
}

std::vector<SourceProblem> HubObjects::problems_hiding(const std::set<ObjectKind>& kinds) const {
  const auto of_kinds = [&](const ManifestKey& key) { return kinds.contains(key.object.kind); };
  std::vector<SourceProblem> out;
  for (const auto& [place, file] : files_) {
    if (file->problem) {
      out.push_back(*file->problem);
      continue;
    }
    for (const Manifest::Entry& entry : file->manifest.documents) {
      const ManifestDocument& document = *entry.document;
      if (document.unreadable || std::any_of(document.refused.begin(), document.refused.end(), of_kinds)) {
        add_document_problems(*file, entry, out);
      }
    }
    for (const Twice& twice : file->twice) {
      if (of_kinds(twice.key)) {
        add_twice_problem(*file, twice, out);
      }
    }
  }
  for (const ManifestKey& key : contested_) {
    if (of_kinds(key)) {
      add_contested_problems(key, out);
    }
  }
  return out;
}

HubObjects::Counts HubObjects::counts() const {
  Counts counts{files_.size(), published_.size(), 0};
  for (const auto& [place, file] : files_) {
    for (const Manifest::Entry& entry : file->manifest.documents) {
      counts.ignored += entry.document->ignored;
    }
  }
  return counts;
}

}  // namespace isthmus
