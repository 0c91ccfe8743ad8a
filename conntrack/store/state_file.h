// state_file.h: a file on tmpfs that one process has to itself.
//
//   acquire   the directory (made if missing; must be ours, on tmpfs) → open → flock → does the name still mean this file?
//   lock      flock(2): goes with the process, whatever ends it. Held by another: tried again until `patience` is over, for a
//             process that was killed lets go a little later
//   names     are looked up in the directory's descriptor, never by a path that somebody may change meanwhile; no links
//   replace   PATH.new, made whole and locked → PATH also named PATH.set-aside → PATH.new renamed to PATH. Whatever
//             ends this process meanwhile, or fails for want of room, the old file is there under a name that says so;
//             a PATH.new that was left behind goes when PATH is acquired
//
// tmpfs, because the pages that a killed process has written to are the file: nothing is ever written back, nothing waits
// for a disk, and a reboot, after which no flow is left, empties it.
// Every descriptor is close-on-exec: a program that is started must not keep the lock. Control thread only.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "conntrack/store/result.h"

namespace limpet::store {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    const FileDescriptor old(std::exchange(fd_, std::exchange(other.fd_, -1)));  // closed at once: it may hold memory
    return *this;
  }
  ~FileDescriptor();
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

class StateFile {
 public:
  /// Opens or makes it, and locks it. Errors: unavailable (another process has it, no tmpfs), permission, runtime.
  static Result<StateFile> acquire(const std::string& path, std::chrono::milliseconds patience);

  int fd() const noexcept { return file_.get(); }
  const std::string& path() const noexcept { return path_; }
  Result<std::size_t> size() const;
  /// Its name means another file now, or none.
  bool is_replaced() const noexcept;
  /// Exactly this long, every page there, all zero. Error: unavailable, if tmpfs is full.
  Status make(std::size_t bytes);
  /// Put a new one in its place, as make() does it, and keep what there was as PATH.set-aside, where an older one goes.
  /// On any error, and it is unavailable if tmpfs is full, this file is what it was and where it was.
  Status replace(std::size_t bytes);
  /// Remove what replace() has left.
  void remove_set_aside() noexcept;
  /// Remove it, while it is locked.
  void remove() noexcept;

 private:
  StateFile(std::string path, std::string name, FileDescriptor directory)
      : path_(std::move(path)), name_(std::move(name)), directory_(std::move(directory)) {}
  std::string set_aside_name() const { return name_ + ".set-aside"; }
  std::string new_name() const { return name_ + ".new"; }
  /// PATH.new, locked: only who has locked PATH makes one.
  Result<StateFile> make_beside(std::size_t bytes) const;
  /// If an older PATH.set-aside, which goes anyway, takes the room that another file of so many bytes needs: remove it.
  bool make_room(std::size_t bytes) noexcept;
  Status open();
  /// 0, or the errno of flock.
  int lock() noexcept;
  Error taken() const;

  std::string path_;
  std::string name_;  // in its directory
  FileDescriptor directory_;
  FileDescriptor file_;
};

}  // namespace limpet::store
