#include "conntrack/store/region_header.h"

#include <algorithm>
#include <cstring>

namespace limpet::store {

namespace {

constexpr std::size_t kAlignment = kRegionHeaderBytes;

/// Not secret: it tells damage and other builds, no attackers.
constexpr HashKey kCheck{0x6c696d706574, 0x7374617465};

std::uint64_t hash(const void* bytes, std::size_t size) noexcept {
  std::uint64_t h = size;
  const auto* from = static_cast<const std::byte*>(bytes);
  for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, from + at, std::min(sizeof word, size - at));
    h = siphash13(kCheck, std::array{h, word});
  }
  return h;
}

std::uint64_t hash(std::string_view text) noexcept {
  return hash(text.data(), text.size());
}

template <std::size_t N>
void put(std::array<char, N>& field, std::string_view text) noexcept {
  field.fill('\0');
  std::copy_n(text.begin(), std::min(text.size(), N - 1), field.begin());
}

template <std::size_t N>
std::string_view text(const std::array<char, N>& field) noexcept {
  return {field.data(), ::strnlen(field.data(), N)};
}

std::string quoted(std::string_view name) {
  return "\"" + std::string(name) + "\"";
}

std::optional<std::string> objection_to_sections(const RegionHeader& header, std::span<const SectionSpec> wanted) {
  if (header.section_count != wanted.size()) {
    return "it has " + std::to_string(header.section_count) + " tables, where this limpet has " +
           std::to_string(wanted.size());
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const RegionHeader::Section& there = header.sections[i];
    if (text(there.name) != wanted[i].name) {
      return "its table " + std::to_string(i + 1) + " is " + quoted(text(there.name)) + ", not " +
             quoted(wanted[i].name);
    }
    if (there.bytes != wanted[i].bytes) {
      return "its table " + quoted(wanted[i].name) + " takes " + std::to_string(there.bytes) + " bytes, not " +
             std::to_string(wanted[i].bytes) + ": another capacity";
    }
    if (there.layout != hash(wanted[i].layout)) {
      return "its table " + quoted(wanted[i].name) + " has another layout: it is of another version of limpet";
    }
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t RegionHeader::expected_checksum() const noexcept {
  constexpr std::size_t kFrom = offsetof(RegionHeader, version);  // the magic is compared itself
  return hash(reinterpret_cast<const std::byte*>(this) + kFrom, offsetof(RegionHeader, checksum) - kFrom);
}

std::vector<std::size_t> section_offsets(std::span<const SectionSpec> sections) {
  std::vector<std::size_t> offsets{kRegionHeaderBytes};
  for (const SectionSpec& section : sections) {
    offsets.push_back(offsets.back() + (section.bytes + kAlignment - 1) / kAlignment * kAlignment);
  }
  return offsets;
}

void fill(RegionHeader& header, const RegionIdentity& identity, std::int64_t epoch,
          const std::array<HashKey, kRegionSeeds>& seeds) noexcept {
  header.version = RegionHeader::kVersion;
  header.section_count = static_cast<std::uint32_t>(identity.sections.size());
  header.file_bytes = section_offsets(identity.sections).back();
  header.epoch = epoch;
  put(header.boot_id, identity.boot_id);
  put(header.instance, identity.instance);
  header.seeds = seeds;
  header.sections = {};
  for (std::size_t i = 0; i < identity.sections.size(); ++i) {
    const SectionSpec& section = identity.sections[i];
    put(header.sections[i].name, section.name);
    header.sections[i].bytes = section.bytes;
    header.sections[i].layout = hash(section.layout);
  }
}

std::optional<std::string> objection(const RegionHeader& header, std::size_t file_bytes,
                                     const RegionIdentity& identity) {
  if (header.magic != RegionHeader::kMagic) return "it does not begin as a state file does";
  if (header.version != RegionHeader::kVersion) {
    return "it is of format " + std::to_string(header.version) + ", this limpet reads " +
           std::to_string(RegionHeader::kVersion);
  }
  if (header.checksum != header.expected_checksum()) return "its header is damaged: the checksum does not match";
  if (text(header.boot_id) != identity.boot_id) return "it is of another boot of this machine";
  if (text(header.instance) != identity.instance) {
    return "it belongs to the instance " + quoted(text(header.instance)) + ", not " + quoted(identity.instance);
  }
  if (auto why = objection_to_sections(header, identity.sections)) return why;
  if (header.file_bytes != section_offsets(identity.sections).back() || header.file_bytes != file_bytes) {
    return "it is " + std::to_string(file_bytes) + " bytes long, and should be " + std::to_string(header.file_bytes);
  }
  return std::nullopt;
}

}  // namespace limpet::store
