// A container that most objects leave empty: it takes one pointer there. Has the meaning of the container itself:
// copied with it, compared by it. Any thread.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>

namespace isthmus {

template <typename T>
class Rare {
 public:
  using Value = T;

  Rare() = default;
  Rare(T value)  // NOLINT(google-explicit-constructor): it stands for the value
      : held_(value == T{} ? nullptr : std::make_unique<T>(std::move(value))) {}
  template <typename Container = T>
  Rare(std::initializer_list<typename Container::value_type> items) : Rare(T(items)) {}
  Rare(const Rare& other) : held_(other.held_ ? std::make_unique<T>(*other.held_) : nullptr) {}
  Rare(Rare&&) noexcept = default;
  Rare& operator=(const Rare& other) {
    held_ = other.held_ ? std::make_unique<T>(*other.held_) : nullptr;
    return *this;
  }
  Rare& operator=(Rare&&) noexcept = default;
  ~Rare() = default;

  [[nodiscard]] const T& operator*() const {
    static const T empty{};
    return held_ ? *held_ : empty;
  }
  [[nodiscard]] const T* operator->() const { return &**this; }
  friend bool operator==(const Rare& a, const Rare& b) { return *a == *b; }

 private:
  std::unique_ptr<T> held_;  // null: empty
};

}  // namespace isthmus
