// file_watcher.h: tells when files or folders have changed, by inotify, on the control thread.
//
//   /etc/limpet/services.yaml → ..data/services.yaml,  ..data → ..2026_11_28      (a ConfigMap's volume)
//
//   watched   each name that the path leads through, in its folder: /: etc; /etc: limpet; /etc/limpet: services.yaml, ..data;
//             /etc/limpet/..2026_11_28: services.yaml; and the content of what it leads to: the file's, or of a folder
//             every name in it, with what symbolic links in it lead to
//   news      an event of one of these: written in place, renamed over, swapped link, folder replaced, gone, there again;
//             or the kernel's queue has overflowed: then anything may have changed
//   callback  once nothing more has come for `settle`, at the latest `patience` after the first news. Before it the paths
//             are walked anew: what it reads is watched already, so a later change is news again
//
// A path need not exist: it is waited for in the first folder of it that does. Each folder is watched before its names are
// looked up, so that no change falls between. "-" is standard input, and not watched. Not seen: writing through mmap, a
// filesystem mounted over a folder, changes that another machine makes to a network filesystem.
//
// Changes before open() are not told: read the files after it, or once more. Costs O(names in the paths and folders) a
// callback, and an inotify watch for each folder and file; a watch that the kernel refuses is logged once.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <sys/inotify.h>

#include "conntrack/store/result.h"

namespace limpet::control {

struct WatcherOptions {
  std::chrono::milliseconds settle{50};
  std::chrono::milliseconds patience{500};
};

class FileWatcher {
 public:
  using Callback = std::function<void()>;

  /// `changed` may call watch(), and may destroy the watcher. Errors: the kernel gives no inotify descriptor.
  static store::Result<std::unique_ptr<FileWatcher>> open(boost::asio::io_context& io,
                                                          std::vector<std::filesystem::path> paths, Callback changed,
                                                          WatcherOptions options = {});
  FileWatcher(const FileWatcher&) = delete;
  FileWatcher& operator=(const FileWatcher&) = delete;

  /// In place of the former paths. What has changed before and was not told yet will be.
  void watch(std::vector<std::filesystem::path> paths);

 private:
  using Clock = std::chrono::steady_clock;
  /// What is asked of one inode: all that happens there, or what happens to some names in it.
  struct Interest {
    bool all = false;
    std::set<std::string> names;
  };

  FileWatcher(boost::asio::io_context& io, int descriptor, Callback changed, WatcherOptions options);

  void look();
  void follow(const std::filesystem::path& path, bool entries_too);
  void watch_content(const std::filesystem::path& where, bool entries_too);
  /// The interest in `where`; nullptr if it cannot be watched.
  Interest* add(const std::filesystem::path& where, std::uint32_t events);
  void await_events();
  /// All that has come. True if any of it is news.
  bool drain();
  bool is_news(const inotify_event& event) const;
  void settle();
  void tell();

  std::vector<std::filesystem::path> paths_;
  const Callback changed_;
  const WatcherOptions options_;
  boost::asio::posix::stream_descriptor events_;
  boost::asio::steady_timer timer_;
  bool pending_ = false;  // there are news that were not told yet
  Clock::time_point first_news_;
  std::unordered_map<int, Interest> interests_;                             // by watch descriptor
  std::set<std::string> refused_;                                           // what was logged
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);  // asked by handlers that come late
};

}  // namespace limpet::control
