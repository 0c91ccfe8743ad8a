// object_reloader.h: follows the files of Kubernetes objects: read again when they change, away from everybody else.
//
//   FileWatcher ── news ──▶ a thread of its own: KubernetesFiles::read() ──▶ control thread: changed(News)
//   SIGHUP ── ask() ──┘      (parsing 100 MB takes seconds)
//
// One reading at a time; news that come meanwhile begin the next one when it has ended. What a reading finds is handed
// over as it is, also when it is nothing: then only diagnostics, or not even those.
//
// A kernel without inotify is a warning: then ask() is all that there is.
#pragma once

#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "lb/control/file_watcher.h"
#include "lb/service/kubernetes_files.h"

namespace limpet::control {

class ObjectReloader {
 public:
  using Changed = std::function<void(service::KubernetesFiles::News)>;

  /// `files` is the reader's alone from here on. Begins with a reading: files may have changed since the last one.
  ObjectReloader(boost::asio::io_context& io, std::shared_ptr<service::KubernetesFiles> files, Changed changed);
  ~ObjectReloader();
  ObjectReloader(const ObjectReloader&) = delete;
  ObjectReloader& operator=(const ObjectReloader&) = delete;

  /// Look now.
  void ask();

 private:
  void read();

  boost::asio::io_context& io_;
  std::shared_ptr<service::KubernetesFiles> files_;
  Changed changed_;
  std::unique_ptr<FileWatcher> watcher_;
  bool reading_ = false;
  bool again_ = false;  // asked for while one was under way
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  boost::asio::thread_pool thread_{1};
};

}  // namespace limpet::control
