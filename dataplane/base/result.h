// A value or an error that a person can act on; the dataplane and the control side use it instead of exceptions.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace isthmus {

// what happened, where (file:line, device, key), and what to do about it.
struct Error {
  std::string what;
  std::string where = {};
  std::string remedy = {};

  // "where: what (remedy)", leaving out what is empty.
  [[nodiscard]] std::string text() const {
    std::string s = where.empty() ? what : where + ": " + what;
    if (!remedy.empty()) {
      s += " (" + remedy + ")";
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
