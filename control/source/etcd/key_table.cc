#include "control/source/etcd/key_table.h"

#include <absl/hash/hash.h>

#include <algorithm>
#include <cstring>
#include <functional>

namespace isthmus {
namespace {

constexpr std::size_t kMinSlots = 16;

}  // namespace

std::uint64_t hash_of_value(std::string_view value) { return absl::Hash<std::string_view>{}(value); }

std::size_t KeyTable::length(Ref ref) const {
  std::uint16_t length = 0;
  std::memcpy(&length, bytes_.data() + ref + kLengthOffset, sizeof length);
  return length;
}

std::uint64_t KeyTable::value_hash(Ref ref) const {
  std::uint64_t hash = 0;
  std::memcpy(&hash, bytes_.data() + ref, sizeof hash);
  return hash;
}

void KeyTable::set_value_hash(Ref ref, std::uint64_t hash) { std::memcpy(bytes_.data() + ref, &hash, sizeof hash); }

std::string_view KeyTable::key(Ref ref) const { return {bytes_.data() + ref + kKeyOffset, length(ref)}; }

// The slot of the key, or the free slot to insert it at.
std::size_t KeyTable::slot_of(std::string_view key) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t free = slots_.size();
  for (std::size_t at = absl::Hash<std::string_view>{}(key)&mask;; at = (at + 1) & mask) {
    const Ref ref = slots_[at];
    if (ref == kNone) {
      return free == slots_.size() ? at : free;
    }
    if (ref == kTombstone) {
      free = free == slots_.size() ? at : free;
    } else if (this->key(ref) == key) {
      return at;
    }
  }
}

KeyTable::Ref KeyTable::find(std::string_view key) const {
  if (slots_.empty()) {
    return kNone;
  }
  const Ref ref = slots_[slot_of(key)];
  return ref == kTombstone ? kNone : ref;
}

KeyTable::Ref KeyTable::find_or_add(std::string_view key) {
  if ((used_ + 1) * 4 > slots_.size() * 3 || garbage_ > bytes_.size() / 2 + 4096) {
    rebuild();
  }
  const std::size_t slot = slot_of(key);
  if (slots_[slot] != kNone && slots_[slot] != kTombstone) {
    return slots_[slot];
  }
  const std::size_t size = kKeyOffset + key.size(), at = bytes_.size();
  if (at + size > bytes_.capacity()) {
    bytes_.reserve(std::max(at + size, bytes_.capacity() + bytes_.capacity() / 4));
  }
  bytes_.resize(at + size);
  const auto ref = static_cast<Ref>(at);
  const auto length = static_cast<std::uint16_t>(key.size());
  std::memcpy(bytes_.data() + at + kLengthOffset, &length, sizeof length);
  std::memcpy(bytes_.data() + at + kKeyOffset, key.data(), key.size());
  used_ += slots_[slot] == kNone ? 1 : 0;
  slots_[slot] = ref;
  ++live_;
  return ref;
}

void KeyTable::erase(Ref ref) {
  slots_[slot_of(key(ref))] = kTombstone;
  set_flags(ref, kErased);
  garbage_ += kKeyOffset + length(ref);
  --live_;
}

void KeyTable::clear() {
  bytes_ = {};
  slots_ = {};
  live_ = used_ = garbage_ = 0;
}

// Drops erased records and resizes the slots for one more key.
void KeyTable::rebuild() {
  std::size_t slots = kMinSlots;
  while (slots * 3 < (live_ + 1) * 5) {
    slots *= 2;
  }
  if (garbage_ > 0) {
    std::vector<char> live;
    live.reserve(bytes_.size() - garbage_);
    each([&](Ref ref) {
      const char* const from = bytes_.data() + ref;
      live.insert(live.end(), from, from + kKeyOffset + length(ref));
    });
    bytes_ = std::move(live);
    garbage_ = 0;
  }
  slots_.assign(slots, kNone);
  each([&](Ref ref) { slots_[slot_of(key(ref))] = ref; });
  used_ = live_;
}

}  // namespace isthmus
