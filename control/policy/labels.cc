#include "control/policy/labels.h"

#include <algorithm>

namespace isthmus {
namespace {

bool source_matches(const std::string& expected, const std::string& source) {
  return expected == "any" || expected == source;
}

bool matches_requirement(const LabelRequirement& requirement, const LabelSet& labels) {
  auto at = std::lower_bound(labels.begin(), labels.end(), requirement.key,
                             [](const Label& label, const std::string& key) { return label.key < key; });
  while (at != labels.end() && at->key == requirement.key && !source_matches(requirement.source, at->source)) {
    ++at;
  }
  const bool present = at != labels.end() && at->key == requirement.key;
  const auto listed = [&] {
    return std::find(requirement.values.begin(), requirement.values.end(), at->value) != requirement.values.end();
  };
  switch (requirement.op) {
    case LabelOperator::kIn:
      return present && listed();
    case LabelOperator::kNotIn:
      return !present || !listed();
    case LabelOperator::kExists:
      return present;
    case LabelOperator::kDoesNotExist:
      return !present;
  }
  return false;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text;
}

}  // namespace

LabelSet parse_labels(const std::map<std::string, std::string>& labels) {
  LabelSet out;
  out.reserve(labels.size());
  for (const auto& [text, value] : labels) {
    const auto colon = text.find(':');
    out.push_back({text.substr(colon == std::string::npos ? 0 : colon + 1),
                   colon == std::string::npos ? "unspec" : text.substr(0, colon), value});
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool matches(const LabelSelector& selector, const LabelSet& labels) {
  return std::all_of(selector.requirements.begin(), selector.requirements.end(),
                     [&](const LabelRequirement& requirement) { return matches_requirement(requirement, labels); });
}

std::string to_text(const LabelSelector& selector) {
  std::vector<std::string> words;
  for (const LabelRequirement& r : selector.requirements) {
    const std::string key = r.source == "any" ? r.key : r.source + ":" + r.key;
    switch (r.op) {
      case LabelOperator::kIn:
        words.push_back(r.values.size() == 1 ? key + "=" + r.values.front() : key + " in (" + joined(r.values) + ")");
        break;
      case LabelOperator::kNotIn:
        words.push_back(key + " not in (" + joined(r.values) + ")");
        break;
      case LabelOperator::kExists:
        words.push_back(key);
        break;
      case LabelOperator::kDoesNotExist:
        words.push_back("!" + key);
        break;
    }
  }
  return words.empty() ? "everything" : joined(words);
}

std::string to_text(const LabelSet& labels) {
  std::vector<std::string> words;
  for (const Label& label : labels) {
    words.push_back(label.source + ":" + label.key + (label.value.empty() ? "" : "=" + label.value));
  }
  return joined(words);
}

const LabelRequirement* lookup_requirement(const LabelSelector& selector) {
  const LabelRequirement* best = nullptr;
  const auto cost = [](const LabelRequirement& r) {
    const std::size_t common = r.key == kClusterLabel ? 2000 : r.key == kNamespaceLabel ? 1000 : 0;
    return common + r.values.size();
  };
  for (const LabelRequirement& requirement : selector.requirements) {
    if (requirement.op == LabelOperator::kIn && (best == nullptr || cost(requirement) < cost(*best))) {
      best = &requirement;
    }
  }
  return best;
}

std::string lookup_term(std::string_view key, std::string_view value) {
  std::string term;
  term.reserve(key.size() + value.size() + 1);
  term.append(key).append(1, '\0').append(value);
  return term;
}

}  // namespace isthmus
