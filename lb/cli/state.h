// state.h: the memory of what a running limpet must not forget, and whether it outlives the process.
//
//   flows        every connection                  flow_table.h
//   affinities   which client has which endpoint   affinity_table.h
//   names        what the ids in both stand for    identities.h
//
// `state: {path: auto | FILE}`: all in one file on tmpfs, which the next process adopts, however this one ends
// (mapped_region.h). `none`: anonymous memory. The hash keys belong to the memory: they are drawn when it is made.
// Control thread only; the tables lie in it, so it must outlive them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/store/mapped_region.h"
#include "conntrack/store/result.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/zeroed_memory.h"
#include "lb/affinity/affinity_table.h"
#include "lb/service/config.h"
#include "lb/service/identities.h"

namespace limpet::cli {

class State {
 public:
  enum class Section : unsigned { flows, affinities, names };

  /// Errors: unavailable, where another process has the file, or this machine not the memory; as MappedRegion::open.
  static store::Result<std::unique_ptr<State>> open(const service::Config& config);

  std::span<std::byte> memory(Section section) const noexcept;
  const store::HashKey& key(Section section) const noexcept;
  /// When the memory was made: stamps in it count from here.
  flow::Instant epoch() const noexcept;

  /// Of the tables' own sizes and layouts: of `tables:` alone, so that with any other setting changed they are adopted.
  static affinity::AffinityOptions affinity_options(const service::Config& config);
  static service::IdentityLimits identity_limits(const service::Config& config) noexcept;

  /// A process before this one has left it.
  bool adopted() const noexcept { return region_ && !region_->fresh(); }
  /// Of one that was adopted, how it went on from process to process: "start 3 of it, after a clean stop".
  std::string history() const;
  /// Where the next process will find it; empty: nowhere.
  std::string path() const { return region_ ? region_->path() : std::string(); }
  /// What an operator should know, in words.
  const std::vector<std::string>& warnings() const noexcept;

  /// It cannot be used, because `why`: set it aside and begin with nothing. Spans given out are void.
  store::Status start_over(std::string_view why) { return region_->start_over(why); }
  /// This process has ended of its own accord.
  void mark_clean() noexcept;
  /// Nobody is to go on from here.
  void remove() noexcept;

 private:
  struct Anonymous {
    explicit Anonymous(const std::vector<store::SectionSpec>& sections);
    std::vector<std::unique_ptr<store::ZeroedMemory>> memory;
    std::vector<std::size_t> bytes;
    std::vector<store::HashKey> keys;
    flow::Instant epoch;
  };
  static std::vector<store::SectionSpec> sections(const service::Config& config);

  std::optional<store::MappedRegion> region_;
  std::optional<Anonymous> anonymous_;
};

}  // namespace limpet::cli
