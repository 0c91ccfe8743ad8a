#include "conntrack/store/table_shape.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace limpet::store {
namespace {

constexpr double kLoad = 0.62;
constexpr double kMostLoad = 0.8;
constexpr double kSigmas = 6;
constexpr std::uint32_t kMostSlots = 4096;
constexpr std::uint32_t kLeastEntries = 256;
constexpr std::uint32_t kShardsPerWorker = 16;
constexpr std::size_t kCacheLine = 64;

std::uint32_t rounded_up(double number) noexcept {
  return static_cast<std::uint32_t>(std::ceil(number));
}

}  // namespace

TableShape TableShape::of(std::uint32_t capacity, unsigned workers, std::size_t slot_bytes) noexcept {
  TableShape shape;
  shape.capacity = std::max<std::uint32_t>(capacity, 1);
  const std::uint32_t by_size = std::bit_ceil(rounded_up(shape.capacity / (kMostSlots * kLoad)));
  const std::uint32_t by_workers = std::bit_ceil(kShardsPerWorker * std::max(workers, 1U));
  const std::uint32_t most = std::bit_floor(std::max<std::uint32_t>(shape.capacity / kLeastEntries, 1));
  shape.shards = std::min(std::max(by_size, by_workers), most);

  const double mean = static_cast<double>(shape.capacity) / shape.shards;
  shape.limit = shape.shards == 1 ? shape.capacity : rounded_up(mean + kSigmas * std::sqrt(mean));
  // One is always free: it ends every probe. Whole cache lines, so that no slot lies across two.
  const std::uint32_t needed = std::max(rounded_up(mean / kLoad), rounded_up(shape.limit / kMostLoad)) + 1;
  const auto line = static_cast<std::uint32_t>(std::max<std::size_t>(kCacheLine / slot_bytes, 1));
  shape.slots = (needed + line - 1) / line * line;
  return shape;
}

}  // namespace limpet::store
