#include "control/source/etcd/json_value.h"

namespace isthmus {

using nlohmann::json;

JsonObject::JsonObject(const json* object, std::string path, ValueError& error)
    : object_(object != nullptr && object->is_null() ? nullptr : object), path_(std::move(path)), error_(error) {
  if (object_ != nullptr && !object_->is_object()) {
    add_error(path_.empty() ? "it is not an object" : path_.substr(0, path_.size() - 1) + " is not an object");
    object_ = nullptr;
  }
}

void JsonObject::add_error(const std::string& what) const {
  if (error_.empty()) {
    error_ = what;
  }
}

const json* JsonObject::get(const char* key) const {
  if (object_ == nullptr) {
    return nullptr;
  }
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::string JsonObject::text(const char* key) const {
  const json* value = get(key);
  if (value == nullptr) {
    return "";
  }
  if (!value->is_string()) {
    add_error(path(key) + " is not text");
    return "";
  }
  return value->get<std::string>();
}

std::uint64_t JsonObject::number(const char* key, std::uint64_t max) const {
  const json* value = get(key);
  if (value == nullptr) {
    return 0;
  }
  if (!value->is_number_unsigned() || value->get<std::uint64_t>() > max) {
    add_error(path(key) + " is not a number from 0 to " + std::to_string(max));
    return 0;
  }
  return value->get<std::uint64_t>();
}

std::optional<bool> JsonObject::optional_flag(const char* key) const {
  const json* value = get(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_boolean()) {
    add_error(path(key) + " is neither true nor false");
    return std::nullopt;
  }
  return value->get<bool>();
}

bool JsonObject::flag(const char* key) const { return optional_flag(key).value_or(false); }

JsonObject JsonObject::object(const char* key) const { return {get(key), path(key) + ".", error_}; }

std::map<std::string, std::string> JsonObject::texts(const char* key) const {
  std::map<std::string, std::string> result;
  const JsonObject map = object(key);
  map.each_member([&](const std::string& name, const json& value) {
    if (value.is_string()) {
      result[name] = value.get<std::string>();
    } else if (value.is_null()) {
      result[name];
    } else {
      add_error(path(key) + " has a value that is not text");
    }
  });
  return result;
}

std::vector<std::string> JsonObject::text_list(const char* key) const {
  std::vector<std::string> result;
  each(key, [&](const json& value, const std::string& at) {
    if (value.is_string()) {
      result.push_back(value.get<std::string>());
    } else {
      add_error(at + " is not text");
    }
  });
  return result;
}

void JsonObject::each(const char* key, const std::function<void(const json&, const std::string&)>& visit) const {
  const json* value = get(key);
  if (value == nullptr) {
    return;
  }
  if (!value->is_array()) {
    add_error(path(key) + " is not a list");
    return;
  }
  std::size_t index = 0;
  for (const json& element : *value) {
    visit(element, path(key) + "[" + std::to_string(index++) + "]");
  }
}

void JsonObject::each_member(const std::function<void(const std::string&, const json&)>& visit) const {
  if (object_ != nullptr) {
    for (auto it = object_->begin(); it != object_->end(); ++it) {
      visit(it.key(), it.value());
    }
  }
}

std::optional<json> parse_json_object(std::string_view text, ValueError& error) {
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded() || !value.is_object()) {
    error = value.is_discarded() ? "it is not JSON" : "it is not an object";
    return std::nullopt;
  }
  return value;
}

bool is_plain_text(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    if (first < 0x80) {
      if (first < 0x20 || first == 0x7f) {
        return false;
      }
      ++i;
      continue;
    }
    const unsigned length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() - i < length) {
      return false;
    }
    std::uint32_t code = first & (0x7fU >> length);
    for (unsigned k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) {
        return false;
      }
      code = code << 6 | (next & 0x3fU);
    }
    const std::uint32_t min_code = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
    if (code < min_code || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::optional<IpProtocol> protocol_of(std::string_view text) {
  return text == "TCP"    ? std::optional(IpProtocol::kTcp)
         : text == "UDP"  ? std::optional(IpProtocol::kUdp)
         : text == "SCTP" ? std::optional(IpProtocol::kSctp)
                          : std::nullopt;
}

}  // namespace isthmus
