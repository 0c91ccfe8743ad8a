#include "conntrack/store/state_file.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace limpet::store {

namespace {

constexpr auto kPause = std::chrono::milliseconds(5);
constexpr decltype(statfs::f_type) kTmpfs = 0x01021994, kRamfs = 0x858458f6;  // linux/magic.h

Error failed(const std::string& what, int error) {
  const bool denied = error == EACCES || error == EPERM;
  return {denied ? ErrorKind::permission : ErrorKind::runtime, what + ": " + std::strerror(error)};
}

Error no_room(const std::string& path, std::size_t bytes) {
  return {ErrorKind::unavailable,
          path + ": its file system has no room for " + std::to_string(bytes >> 20) +
              " MiB of tables: lower tables.flows or tables.affinity, enlarge it (mount -o "
              "remount,size=…), choose another place (state.path), or remove what was set aside "
              "there before (*.set-aside)"};
}

/// The directory that holds the file, in which nobody else may rename it.
Result<FileDescriptor> open_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return failed("cannot make the directory " + path, errno);
  FileDescriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return failed("cannot open the directory " + path, errno);
  struct stat status {};
  struct statfs system {};
  if (::fstat(directory.get(), &status) != 0 || ::fstatfs(directory.get(), &system) != 0) {
    return failed("cannot look at the directory " + path, errno);
  }
  if (system.f_type != kTmpfs && system.f_type != kRamfs) {
    return Error{ErrorKind::unavailable, path +
                                             " is not on tmpfs: tables that are mapped from a disk would make packets "
                                             "wait for it. Set state.path to a file below /run or /dev/shm, mount "
                                             "a tmpfs there, or set it to none: then a restart forgets every flow"};
  }
  const bool ours = status.st_uid == ::geteuid() || status.st_uid == 0;
  const bool shared = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (status.st_mode & S_ISVTX) == 0;
  if (!ours || shared) {
    return Error{ErrorKind::permission,
                 path + " can be written to by others: make it a directory of this user, mode 0755"};
  }
  return directory;
}

/// "process 4242 (limpet)", from /proc/locks: "1: FLOCK  ADVISORY  WRITE 4242 00:19:31337 0 EOF".
std::string holder_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return "another process";
  char file[64];
  std::snprintf(file, sizeof file, "%02x:%02x:%lu", major(status.st_dev), minor(status.st_dev),
                static_cast<unsigned long>(status.st_ino));
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, inode;
    long pid = 0;
    if (!(words >> number >> kind >> mode >> access >> pid >> inode) || inode != file || pid <= 0) continue;
    std::string name;
    std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/comm"), name);
    return "process " + std::to_string(pid) + (name.empty() ? "" : " (" + name + ")");
  }
  return "another process";
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<StateFile> StateFile::acquire(const std::string& path, std::chrono::milliseconds patience) {
  const std::filesystem::path parts(path);
  if (!parts.has_filename()) return Error{ErrorKind::configuration, "state.path: " + path + " names no file"};
  const std::string parent = parts.has_parent_path() ? parts.parent_path().string() : ".";
  Result<FileDescriptor> directory = open_directory(parent);
  if (!directory) return directory.error();

  StateFile file(path, parts.filename().string(), std::move(*directory));
  const auto give_up = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (const Status opened = file.open(); !opened) return opened.error();
    const int error = file.lock();
    if (error == 0 && !file.is_replaced()) {
      // Only who has locked PATH makes a PATH.new: this one is what somebody left who was killed, and may hold much memory.
      ::unlinkat(file.directory_.get(), file.new_name().c_str(), 0);
      return file;
    }
    if (error != 0 && error != EWOULDBLOCK) return failed("cannot lock " + path, error);
    if (std::chrono::steady_clock::now() >= give_up) return file.taken();
    std::this_thread::sleep_for(kPause);
  }
}

Status StateFile::open() {
  const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;  // a FIFO must not make it wait
  file_ = FileDescriptor(::openat(directory_.get(), name_.c_str(), flags, 0600));
  if (!file_ && errno == ELOOP) return Error{ErrorKind::permission, path_ + " is a symbolic link: remove it"};
  if (!file_) return failed("cannot open " + path_, errno);
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) return failed("cannot look at " + path_, errno);
  if (!S_ISREG(status.st_mode)) return Error{ErrorKind::permission, path_ + " is not a regular file: remove it"};
  if (status.st_uid != ::geteuid()) return Error{ErrorKind::permission, path_ + " belongs to another user: remove it"};
  return ok();
}

int StateFile::lock() noexcept {
  return ::flock(file_.get(), LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
}

Error StateFile::taken() const {
  return {ErrorKind::unavailable, path_ + " is in use by " + holder_of(file_.get()) +
                                      ": stop it first, or give this limpet a file of its own (state.path)"};
}

Result<std::size_t> StateFile::size() const {
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) return failed("cannot look at " + path_, errno);
  return static_cast<std::size_t>(status.st_size);
}

bool StateFile::is_replaced() const noexcept {
  struct stat here {};
  struct stat there {};
  return ::fstat(file_.get(), &here) != 0 ||
         ::fstatat(directory_.get(), name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) != 0 || here.st_ino != there.st_ino ||
         here.st_dev != there.st_dev;
}

Status StateFile::make(std::size_t bytes) {
  const auto length = static_cast<off_t>(bytes);
  if (::ftruncate(file_.get(), 0) != 0 || ::ftruncate(file_.get(), length) != 0) {
    return failed("cannot set the size of " + path_, errno);
  }
  while (::fallocate(file_.get(), 0, 0, length) != 0) {
    if (errno == EINTR) continue;
    const int error = errno;
    [[maybe_unused]] const int freed = ::ftruncate(file_.get(), 0);  // what there was room for
    if (error == ENOSPC || error == ENOMEM) return no_room(path_, bytes);
    return failed("cannot allocate " + path_, error);
  }
  return ok();
}

Result<StateFile> StateFile::make_beside(std::size_t bytes) const {
  FileDescriptor directory(::fcntl(directory_.get(), F_DUPFD_CLOEXEC, 0));
  if (!directory) return failed("cannot keep the directory of " + path_ + " open", errno);
  StateFile next(path_ + ".new", new_name(), std::move(directory));
  if (const Status opened = next.open(); !opened) return opened.error();
  if (const int error = next.lock()) return failed("cannot lock " + next.path_, error);
  if (const Status made = next.make(bytes); !made) {
    next.remove();
    return made.error();
  }
  return next;
}

bool StateFile::make_room(std::size_t bytes) noexcept {
  struct stat older {};
  struct statfs system {};
  if (::fstatat(directory_.get(), set_aside_name().c_str(), &older, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if (::fstatfs(directory_.get(), &system) != 0 || older.st_nlink > 1) return false;
  const auto free = static_cast<std::uint64_t>(system.f_bavail) * static_cast<std::uint64_t>(system.f_bsize);
  if (free + static_cast<std::uint64_t>(older.st_blocks) * 512 < bytes) return false;
  return ::unlinkat(directory_.get(), set_aside_name().c_str(), 0) == 0;
}

Status StateFile::replace(std::size_t bytes) {
  Result<StateFile> next = make_beside(bytes);
  if (!next && next.error().kind == ErrorKind::unavailable && make_room(bytes)) next = make_beside(bytes);
  if (!next) return next.error();
  const int directory = directory_.get();
  const std::string aside = set_aside_name();
  remove_set_aside();
  if (::linkat(directory, name_.c_str(), directory, aside.c_str(), 0) != 0) {
    const Error error = failed("cannot keep " + path_ + " as " + aside, errno);
    next->remove();
    return error;
  }
  if (::renameat(directory, next->name_.c_str(), directory, name_.c_str()) != 0) {
    const Error error = failed("cannot rename " + next->path_ + " to " + path_, errno);
    next->remove();
    return error;
  }
  file_ = std::move(next->file_);
  return ok();
}

void StateFile::remove_set_aside() noexcept {
  ::unlinkat(directory_.get(), set_aside_name().c_str(), 0);
}

void StateFile::remove() noexcept {
  if (!is_replaced()) ::unlinkat(directory_.get(), name_.c_str(), 0);
}

}  // namespace limpet::store
