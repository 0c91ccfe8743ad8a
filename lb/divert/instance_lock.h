// instance_lock.h: at most one limpet changes the rules of a network namespace.
//
// The lock is the abstract unix socket "@limpet", bound and never listened on. Abstract names belong to the network
// namespace, as the rules do, and die with the process that bound them: nothing to clean up after a kill.
#pragma once

#include <chrono>
#include <utility>

#include "conntrack/store/result.h"

namespace limpet::divert {

class InstanceLock {
 public:
  /// Tries again until `patience` is over: a process that has just been killed may still hold it.
  /// Errors: unavailable, if another limpet holds it.
  static store::Result<InstanceLock> take(std::chrono::milliseconds patience);

  InstanceLock(InstanceLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  InstanceLock& operator=(InstanceLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~InstanceLock();

 private:
  explicit InstanceLock(int fd) noexcept : fd_(fd) {}
  int fd_;
};

}  // namespace limpet::divert
