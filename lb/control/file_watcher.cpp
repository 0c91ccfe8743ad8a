#include "lb/control/file_watcher.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <system_error>
#include <utility>

#include <spdlog/spdlog.h>
#include <unistd.h>

namespace limpet::control {

namespace fs = std::filesystem;
using boost::system::error_code;

namespace {

/// What may happen to a name in a folder,
constexpr std::uint32_t kNames = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB;
/// and to what stands in a file.
constexpr std::uint32_t kContent = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB;
/// Symbolic links that one path may lead through, as for the kernel.
constexpr int kLinks = 40;

}  // namespace

store::Result<std::unique_ptr<FileWatcher>> FileWatcher::open(boost::asio::io_context& io, std::vector<fs::path> paths,
                                                              Callback changed, WatcherOptions options) {
  const int descriptor = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (descriptor < 0) {
    return store::Error{store::ErrorKind::unavailable, std::string("files cannot be watched: ") + std::strerror(errno) +
                                                           "; see sysctl fs.inotify.max_user_instances"};
  }
  std::unique_ptr<FileWatcher> watcher(new FileWatcher(io, descriptor, std::move(changed), options));
  watcher->watch(std::move(paths));
  watcher->await_events();
  return watcher;
}

FileWatcher::FileWatcher(boost::asio::io_context& io, int descriptor, Callback changed, WatcherOptions options)
    : changed_(std::move(changed)), options_(options), events_(io, descriptor), timer_(io) {}

void FileWatcher::watch(std::vector<fs::path> paths) {
  paths_ = std::move(paths);
  std::erase(paths_, fs::path("-"));
  look();
}

void FileWatcher::look() {
  const auto before = std::exchange(interests_, {});
  for (const fs::path& path : paths_) follow(path, true);
  for (const auto& [watch, interest] : before) {
    if (!interests_.contains(watch)) ::inotify_rm_watch(events_.native_handle(), watch);
  }
}

/// Step by step, as the kernel does, link for link.
void FileWatcher::follow(const fs::path& path, bool entries_too) {
  std::error_code error;
  const fs::path whole = fs::absolute(path, error);
  std::deque<fs::path> ahead(whole.begin(), whole.end());
  fs::path here = "/";  // without links
  for (int links = 0; !ahead.empty();) {
    const fs::path name = std::move(ahead.front());
    ahead.pop_front();
    if (name.empty() || name == ".") continue;
    if (name == "/" || name == "..") {
      here = name == "/" ? name : here.parent_path();
      continue;
    }
    Interest* const interest = add(here, kNames | IN_ONLYDIR);
    if (interest != nullptr) interest->names.insert(name.string());
    const fs::path next = here / name;
    const fs::file_status status = fs::symlink_status(next, error);
    if (fs::is_symlink(status)) {
      if (++links > kLinks) return;
      const fs::path target = fs::read_symlink(next, error);
      ahead.insert(ahead.begin(), target.begin(), target.end());
    } else if (fs::exists(status)) {
      here = next;
    } else {
      return;
    }
  }
  watch_content(here, entries_too);
}

void FileWatcher::watch_content(const fs::path& where, bool entries_too) {
  Interest* const interest = add(where, kNames | kContent);
  if (interest != nullptr) interest->all = true;
  if (!entries_too) return;
  std::error_code error;
  for (auto entry = fs::directory_iterator(where, error); !error && entry != fs::end(entry); entry.increment(error)) {
    if (entry->is_symlink(error)) follow(entry->path(), false);
  }
}

FileWatcher::Interest* FileWatcher::add(const fs::path& where, std::uint32_t events) {
  const int watch = ::inotify_add_watch(events_.native_handle(), where.c_str(), events | IN_MASK_ADD);
  if (watch >= 0) return &interests_[watch];
  const int error = errno;
  const bool missing = error == ENOENT || error == ENOTDIR;  // the folder above tells when it is there
  if (!missing && refused_.insert(where.string()).second) {
    spdlog::warn("changes of {} are not noticed: {}{}", where.string(), std::strerror(error),
                 error == ENOSPC ? "; raise sysctl fs.inotify.max_user_watches" : "");
  }
  return nullptr;
}

void FileWatcher::await_events() {
  events_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [this, alive = std::weak_ptr(alive_)](const error_code& error) {
                       if (error || alive.expired()) return;
                       if (drain()) settle();
                       await_events();
                     });
}

bool FileWatcher::drain() {
  bool news = false;
  alignas(inotify_event) char buffer[64 * 1024];
  for (;;) {
    const ssize_t size = ::read(events_.native_handle(), buffer, sizeof buffer);
    if (size <= 0) return news;
    for (ssize_t at = 0; at < size;) {
      const auto* const event = reinterpret_cast<const inotify_event*>(buffer + at);  // aligned: the kernel pads
      news = news || is_news(*event);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
}

bool FileWatcher::is_news(const inotify_event& event) const {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return true;
  const auto found = interests_.find(event.wd);
  if (found == interests_.end()) return false;  // of a watch that was removed meanwhile
  const bool nameless = event.len == 0;         // the inode itself: it is gone, or unmounted
  return found->second.all || nameless || found->second.names.contains(event.name);
}

void FileWatcher::settle() {
  const auto now = Clock::now();
  if (!std::exchange(pending_, true)) first_news_ = now;
  timer_.expires_at(std::min(now + options_.settle, first_news_ + options_.patience));
  timer_.async_wait([this, alive = std::weak_ptr(alive_)](const error_code& cancelled) {
    if (!cancelled && !alive.expired()) tell();
  });
}

void FileWatcher::tell() {
  if (!std::exchange(pending_, false)) return;  // by a wait that could not be cancelled any more
  look();
  const Callback changed = changed_;  // outlives the watcher, if that is what it does to it
  changed();
}

}  // namespace limpet::control
