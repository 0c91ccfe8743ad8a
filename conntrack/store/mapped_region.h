// mapped_region.h: the file that tables live in, so that they outlive the process.
//
//   PATH   [ header | section 0 | section 1 | … ]      each begins at a multiple of 2 MiB, as does its mapping
//
//   open   lock the file (state_file.h) → believe its header (region_header.h), or set the file aside and make a new one
//          → map it, MAP_SHARED → every page present
//
// A process that is killed loses nothing: the kernel keeps the pages, and the next one maps them. What the sections hold
// is the tables' own business: each must find its way from whatever a kill has left (flow_table.h).
//
// A file of another version, layout, boot or instance, cut short or damaged, is never read: it is renamed to
// PATH.set-aside (an older one goes), warnings() says why, and a fresh one takes its place. Where there is no room for
// both, open() refuses and the file stays where it is: whether it may go is the operator's to say. One that was never
// finished, because its maker was killed first, holds nothing and is simply made again. A table that finds its section
// unusable can have the same done with start_over().
//
// Memory is all there from the start: fallocate, so that a full tmpfs is an error then, and no SIGBUS later; and populated,
// so that no page fault meets a packet. Where tmpfs gives small pages only (shmem_enabled = never, the default),
// MADV_COLLAPSE (Linux 6.1) makes huge ones of them. Measured with 400 MiB, on Linux 6.18: allocating 70 ms, collapsing
// 250 ms, once, when the file is made; then a probe costs 210 ns in place of 300, and adopting the file 0.3 ms in place
// of 60, as 200 page table entries are soon made. An adopted file is never collapsed: small pages in use cost 670 ms.
//
// Control thread only. Layers above hand out the spans; the region must outlive what lies in them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/store/region_header.h"
#include "conntrack/store/result.h"
#include "conntrack/store/state_file.h"

namespace limpet::store {

struct RegionOptions {
  std::string path;
  std::string instance;               // at most 63 bytes; whose tables these are: a file of another's is set aside
  std::vector<SectionSpec> sections;  // in this order; at most kMostSections
  std::chrono::milliseconds patience{1000};
};

class MappedRegion {
 public:
  /// Errors: unavailable (another process has the file, no tmpfs, tmpfs full), permission, configuration, runtime.
  static Result<MappedRegion> open(const RegionOptions& options);
  /// Where an instance's file is if nobody says otherwise: /run/limpet/INSTANCE.state if that is on tmpfs; else
  /// /dev/shm/limpet/INSTANCE.state. For others than root: /dev/shm/limpet-UID/INSTANCE.state.
  static std::string default_path(std::string_view instance);

  std::span<std::byte> section(std::size_t index) const noexcept;
  const std::string& path() const noexcept { return file_.path(); }
  /// Made just now, all sections zero; else adopted from a process that is gone.
  bool fresh() const noexcept { return fresh_; }
  /// What an operator should know, in words, each a sentence.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  /// CLOCK_MONOTONIC when the file was made.
  std::chrono::milliseconds epoch() const noexcept { return std::chrono::milliseconds(header().epoch); }
  /// Secret, drawn when the file was made: what is hashed in it stays findable.
  const HashKey& seed(std::size_t index) const noexcept { return header().seeds[index]; }
  /// How many processes have mapped it, this one included.
  std::uint64_t starts() const noexcept { return header().starts; }
  /// Its last user said mark_clean().
  bool was_clean() const noexcept { return was_clean_; }
  /// Of this process's own accord nothing more will be written. For the log line: a kill leaves as good a file.
  void mark_clean() noexcept { header().clean = 1; }

  /// A section cannot be used, because `why` ("its flows …"): set the file aside, make another. Spans given out are void.
  Status start_over(std::string_view why);
  /// Unlink the file, while it is locked, and what was set aside: nobody will go on from here. The mapping stays.
  void remove() noexcept {
    file_.remove();
    file_.remove_set_aside();
  }

 private:
  /// A piece of a file in memory, at a multiple of 2 MiB.
  class Mapping {
   public:
    Mapping() = default;
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&& other) noexcept;
    ~Mapping();
    /// Its first `bytes`. Errno, or 0.
    int map(int fd, std::size_t bytes) noexcept;
    std::byte* start() const noexcept { return start_; }

   private:
    void* reserved_ = nullptr;  // with what alignment costs
    std::size_t reserved_bytes_ = 0;
    std::byte* start_ = nullptr;
  };

  explicit MappedRegion(const RegionOptions& options, StateFile file);
  RegionHeader& header() const noexcept { return *reinterpret_cast<RegionHeader*>(mapping_.start()); }
  /// Map the file if it can be believed, else put a fresh one in its place.
  Status settle();
  Status adopt();
  Status replace(std::string_view why);
  Status make();
  /// Of a file that is all there, and zero.
  Status begin();
  Status map();

  RegionOptions options_;
  std::string boot_id_;
  StateFile file_;
  std::vector<std::size_t> offsets_;
  std::vector<std::string> warnings_;
  Mapping mapping_;
  bool fresh_ = false;
  bool was_clean_ = false;
};

}  // namespace limpet::store
