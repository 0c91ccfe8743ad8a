// region_header.h: the first bytes of a file that tables live in, and whether to believe them.
//
//   RegionHeader   [ magic | constant part … | checksum | variable part ]
//                    constant   version, boot id, instance, epoch, seeds, sections: written once, sealed by the checksum
//                    variable   starts, clean: single words, of no consequence for the tables
//
// The magic is written last, when all else stands: a file without it was never finished. The rest is compared with what
// this process wants; the first difference is told in words. Pure: no I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "conntrack/store/siphash.h"

namespace limpet::store {

inline constexpr std::size_t kRegionSeeds = 4;
inline constexpr std::size_t kMostSections = 16;

/// What a table wants of the file.
struct SectionSpec {
  std::string name;       // at most 23 bytes: "flows"
  std::size_t bytes = 0;  // of it, in a place that is aligned to 2 MiB
  std::string layout;     // names what its memory looks like; another text means other tables
};

struct RegionHeader {
  static constexpr std::uint64_t kMagic = 0x6574617473706d6c;  // "lmpstate" in memory
  static constexpr std::uint32_t kVersion = 1;

  struct Section {
    std::array<char, 24> name;
    std::uint64_t bytes;
    std::uint64_t layout;  // a hash of the text
  };

  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t section_count;
  std::uint64_t file_bytes;
  std::int64_t epoch;  // ms of CLOCK_MONOTONIC when the file was made
  std::array<char, 40> boot_id;
  std::array<char, 64> instance;
  std::array<HashKey, kRegionSeeds> seeds;
  std::array<Section, kMostSections> sections;
  std::uint64_t checksum;  // of all between the magic and here

  std::uint64_t starts;  // how often it was mapped
  std::uint64_t clean;   // 1: the last user stopped of its own accord

  std::uint64_t expected_checksum() const noexcept;
};
static_assert(std::is_standard_layout_v<RegionHeader> && std::is_trivially_copyable_v<RegionHeader>);
inline constexpr std::size_t kRegionHeaderBytes = std::size_t{2} << 20;  // its own huge page
static_assert(sizeof(RegionHeader) <= 4096);

/// What this process expects of a file, and would write into a new one.
struct RegionIdentity {
  std::string boot_id;
  std::string instance;
  std::span<const SectionSpec> sections;
};

/// Where each section begins, and where the file ends: sections.size() + 1 offsets, multiples of 2 MiB.
std::vector<std::size_t> section_offsets(std::span<const SectionSpec> sections);

/// Everything but magic, starts and clean.
void fill(RegionHeader& header, const RegionIdentity& identity, std::int64_t epoch,
          const std::array<HashKey, kRegionSeeds>& seeds) noexcept;

/// Why a file of this size, with this header, is not to be used: "it is of another boot". nullopt: it is.
std::optional<std::string> objection(const RegionHeader& header, std::size_t file_bytes,
                                     const RegionIdentity& identity);

}  // namespace limpet::store
