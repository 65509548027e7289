// A value, or an error that an operator can act on. The dataplane and control use it instead of exceptions.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace isthmus {

// What is wrong, where (file:line, device, key), and how to fix it.
struct Error {
  std::string what;
  std::string where = {};
  std::string fix = {};

  friend bool operator==(const Error&, const Error&) = default;
  // "where: what (fix)", without the empty parts.
  [[nodiscard]] std::string text() const {
    std::string s = where.empty() ? what : where + ": " + what;
    if (!fix.empty()) {
      s += " (" + fix + ")";
    }
    return s;
  }
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  // Precondition of the four below: ok(); of error(): not ok().
  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  [[nodiscard]] const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

struct Ok {};
using Status = Result<Ok>;

}  // namespace isthmus
