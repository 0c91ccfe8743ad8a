#include "conntrack/store/mapped_region.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace limpet::store {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
#ifndef MADV_COLLAPSE
constexpr int MADV_COLLAPSE = 25;  // Linux 6.1
#endif

Error failed(const std::string& what, int error) {
  return {ErrorKind::runtime, what + ": " + std::strerror(error)};
}

Result<std::string> read_boot_id() {
  std::string id;
  if (std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id)) return id;
  return Error{ErrorKind::runtime, "cannot read /proc/sys/kernel/random/boot_id: is /proc mounted?"};
}

std::int64_t monotonic_ms() noexcept {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

bool is_tmpfs(const char* path) noexcept {
  struct statfs system {};
  return ::statfs(path, &system) == 0 && system.f_type == 0x01021994;
}

}  // namespace

std::string MappedRegion::default_path(std::string_view instance) {
  const std::string name = "/" + std::string(instance) + ".state";
  if (::geteuid() != 0) return "/dev/shm/limpet-" + std::to_string(::geteuid()) + name;
  const bool run = is_tmpfs("/run/limpet") || (::access("/run/limpet", F_OK) != 0 && is_tmpfs("/run"));
  return (run ? "/run/limpet" : "/dev/shm/limpet") + name;
}

MappedRegion::MappedRegion(const RegionOptions& options, StateFile file)
    : options_(options), file_(std::move(file)), offsets_(section_offsets(options.sections)) {}

Result<MappedRegion> MappedRegion::open(const RegionOptions& options) {
  if (options.sections.empty() || options.sections.size() > kMostSections) {
    return Error{ErrorKind::runtime, "a state file has 1 to " + std::to_string(kMostSections) + " sections"};
  }
  Result<std::string> boot_id = read_boot_id();
  if (!boot_id) return boot_id.error();
  Result<StateFile> file = StateFile::acquire(options.path, options.patience);
  if (!file) return file.error();
  MappedRegion region(options, std::move(*file));
  region.boot_id_ = std::move(*boot_id);
  if (const Status settled = region.settle(); !settled) return settled.error();
  return region;
}

Status MappedRegion::settle() {
  const Result<std::size_t> size = file_.size();
  if (!size) return size.error();
  if (*size == 0) return make();
  if (*size < sizeof(RegionHeader)) {
    return replace("it is " + std::to_string(*size) + " bytes long, too short for a header");
  }
  // Nothing is mapped before it is known how much of it there is.
  RegionHeader found{};
  if (::pread(file_.fd(), &found, sizeof found, 0) != static_cast<ssize_t>(sizeof found)) {
    return failed("cannot read " + path(), errno);
  }
  if (found.magic == 0) return make();  // its maker was killed before it was done
  if (const auto why = objection(found, *size, {boot_id_, options_.instance, options_.sections})) return replace(*why);
  return adopt();
}

Status MappedRegion::adopt() {
  fresh_ = false;
  if (Status mapped = map(); !mapped) return mapped;
  was_clean_ = std::exchange(header().clean, 0) == 1;
  ++header().starts;
  return ok();
}

Status MappedRegion::start_over(std::string_view why) {
  mapping_ = {};
  return replace(why);
}

Status MappedRegion::replace(std::string_view why) {
  const std::string unusable = path() + " cannot be used: " + std::string(why) + ". ";
  const Status replaced = file_.replace(offsets_.back());
  if (!replaced && replaced.error().kind == ErrorKind::unavailable) {
    return Error{
        ErrorKind::unavailable,
        unusable + "It is left as it is, for there is no room for another of " + std::to_string(offsets_.back() >> 20) +
            " MiB beside it: remove it if nobody needs it any more, move it elsewhere, or enlarge its file system "
            "(mount -o remount,size=…)"};
  }
  if (!replaced) return replaced;
  warnings_.push_back(unusable + "It was set aside as " + path() + ".set-aside; the tables start empty");
  return begin();
}

Status MappedRegion::make() {
  if (Status made = file_.make(offsets_.back()); !made) return made;
  return begin();
}

Status MappedRegion::begin() {
  fresh_ = true;
  was_clean_ = false;
  if (Status mapped = map(); !mapped) return mapped;

  std::array<HashKey, kRegionSeeds> seeds;
  if (::getrandom(&seeds, sizeof seeds, 0) != static_cast<ssize_t>(sizeof seeds)) return failed("getrandom", errno);
  RegionHeader& fresh = header();
  fill(fresh, {boot_id_, options_.instance, options_.sections}, monotonic_ms(), seeds);
  fresh.starts = 1;
  fresh.checksum = fresh.expected_checksum();
  // Last: a kill leaves no half header behind.
  std::atomic_ref(fresh.magic).store(RegionHeader::kMagic, std::memory_order_release);
  return ok();
}

Status MappedRegion::map() {
  const std::size_t bytes = offsets_.back();
  if (const int error = mapping_.map(file_.fd(), bytes)) return failed("cannot map " + path(), error);
  std::byte* const start = mapping_.start();
  // A kernel that does not know or grant these costs speed only.
  ::madvise(start, bytes, MADV_HUGEPAGE);
  if (fresh_) ::madvise(start, bytes, MADV_COLLAPSE);
  if (::madvise(start, bytes, MADV_POPULATE_WRITE) != 0 && (errno == EFAULT || errno == ENOMEM)) {
    return Error{ErrorKind::unavailable, path() + " has holes, and there is no memory to fill them: remove it"};
  }
  return ok();
}

std::span<std::byte> MappedRegion::section(std::size_t index) const noexcept {
  return {mapping_.start() + offsets_[index], options_.sections[index].bytes};
}

// ---- Mapping ----

int MappedRegion::Mapping::map(int fd, std::size_t bytes) noexcept {
  const std::size_t reserved = bytes + kHugePage;
  void* const space = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) return errno;
  reserved_ = space;
  reserved_bytes_ = reserved;
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(space) % kHugePage;
  start_ = static_cast<std::byte*>(space) + (misaligned == 0 ? 0 : kHugePage - misaligned);
  const int access = PROT_READ | PROT_WRITE;
  return ::mmap(start_, bytes, access, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ? errno : 0;
}

MappedRegion::Mapping::Mapping(Mapping&& other) noexcept
    : reserved_(std::exchange(other.reserved_, nullptr)),
      reserved_bytes_(other.reserved_bytes_),
      start_(std::exchange(other.start_, nullptr)) {}

MappedRegion::Mapping& MappedRegion::Mapping::operator=(Mapping&& other) noexcept {
  std::swap(reserved_, other.reserved_);
  std::swap(reserved_bytes_, other.reserved_bytes_);
  std::swap(start_, other.start_);
  return *this;
}

MappedRegion::Mapping::~Mapping() {
  if (reserved_ != nullptr) ::munmap(reserved_, reserved_bytes_);
}

}  // namespace limpet::store
