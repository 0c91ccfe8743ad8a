// result.h: a value, or an error that says what, where and what to do.
//
// For the control plane: configuration, sockets, rules. The packet path uses counted enums instead and never allocates.
// The kind of an error decides the program's exit code.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace limpet::store {

enum class ErrorKind {
  runtime,        // exit 1
  configuration,  // exit 3
  unavailable,    // exit 4: a daemon or kernel resource is not there, or is taken; trying again may help
  permission,     // exit 5
};

struct Error {
  ErrorKind kind = ErrorKind::runtime;
  std::string message;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT: implicit on purpose
  Result(Error error) : state_(std::move(error)) {}  // NOLINT: implicit on purpose

  explicit operator bool() const noexcept { return std::holds_alternative<T>(state_); }
  T& operator*() { return std::get<T>(state_); }
  const T& operator*() const { return std::get<T>(state_); }
  T* operator->() { return &std::get<T>(state_); }
  const T* operator->() const { return &std::get<T>(state_); }
  const Error& error() const { return std::get<Error>(state_); }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value.
using Status = Result<std::monostate>;
inline Status ok() {
  return std::monostate{};
}

}  // namespace limpet::store
