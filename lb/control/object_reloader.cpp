#include "lb/control/object_reloader.h"

#include <exception>
#include <utility>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <spdlog/spdlog.h>

namespace limpet::control {

namespace asio = boost::asio;

ObjectReloader::ObjectReloader(asio::io_context& io, std::shared_ptr<service::KubernetesFiles> files, Changed changed)
    : io_(io), files_(std::move(files)), changed_(std::move(changed)) {
  auto watcher = FileWatcher::open(io_, {files_->paths().begin(), files_->paths().end()}, [this] { ask(); });
  if (watcher) {
    watcher_ = std::move(*watcher);
  } else {
    spdlog::warn("changes of Kubernetes objects are not followed, SIGHUP reads them: {}", watcher.error().message);
  }
  ask();
}

ObjectReloader::~ObjectReloader() {
  thread_.join();  // a reading ends by itself
}

void ObjectReloader::ask() {
  again_ = true;
  if (!reading_) read();
}

void ObjectReloader::read() {
  reading_ = true;
  again_ = false;
  const std::weak_ptr<const bool> alive = alive_;
  asio::post(thread_, [this, alive, work = asio::make_work_guard(io_)] {
    const auto news = std::make_shared<service::KubernetesFiles::News>();
    try {
      *news = files_->read();
    } catch (const std::exception& error) {  // no memory, say: the objects are as they were
      news->diagnostics.push_back({"Kubernetes objects", 0, 0, service::Severity::error, error.what()});
    }
    asio::post(work.get_executor(), [this, alive, news] {
      if (alive.expired()) return;
      reading_ = false;
      changed_(std::move(*news));
      if (again_ && !reading_) read();
    });
  });
}

}  // namespace limpet::control
