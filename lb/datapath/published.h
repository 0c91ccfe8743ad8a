// published.h: hand an immutable object to the workers and replace it while they run.
//
//   Published<T>          the control thread's end: publish(new) swaps it in
//   Published<T>::Reader  a worker's end, one each: get() once a batch
//
// A reader keeps its own shared_ptr and looks only at a version number (one load) until that changes; then it takes the
// lock and copies the pointer. So the common path writes nothing shared, and the old object dies when the last reader
// has moved on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace limpet::datapath {

template <typename T>
class Published {
 public:
  explicit Published(std::shared_ptr<const T> first) : current_(std::move(first)) {}

  void publish(std::shared_ptr<const T> next) {
    const std::lock_guard lock(mutex_);
    current_ = std::move(next);
    version_.fetch_add(1, std::memory_order_release);
  }
  std::shared_ptr<const T> load() const {
    const std::lock_guard lock(mutex_);
    return current_;
  }

  class Reader {
   public:
    explicit Reader(const Published& source) : source_(&source) {}
    /// Valid until the next call of get() on this reader.
    const T& get() {
      const std::uint64_t version = source_->version_.load(std::memory_order_acquire);
      if (version != seen_ || !held_) {
        held_ = source_->load();
        seen_ = version;
      }
      return *held_;
    }

   private:
    const Published* source_;
    std::shared_ptr<const T> held_;
    std::uint64_t seen_ = 0;
  };

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> current_;
  std::atomic<std::uint64_t> version_{1};
};

}  // namespace limpet::datapath
