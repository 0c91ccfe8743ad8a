// design.md section 5: a killed process loses nothing; a file that is not ours to read is set aside with a message.
#include "conntrack/store/mapped_region.h"

#include <algorithm>
#include <functional>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/store/region_fixture.h"

namespace limpet::store {
namespace {

using testing::HasSubstr;

bool is_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

TEST_F(Region, AFreshOneIsZeroAlignedAndOnlyOurs) {
  const MappedRegion region = open();
  EXPECT_TRUE(region.fresh());
  EXPECT_EQ(region.starts(), 1u);
  EXPECT_FALSE(region.was_clean());
  EXPECT_THAT(region.warnings(), testing::IsEmpty());
  EXPECT_EQ(std::string_view(header().boot_id.data()).size(), 36u);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  EXPECT_LE(now - region.epoch(), std::chrono::minutes(1));
  EXPECT_GE(now, region.epoch());
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(region.section(i).size(), options.sections[i].bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region.section(i).data()) % (2 * kMiB), 0u);
    EXPECT_TRUE(is_zero(region.section(i)));
  }
  EXPECT_EQ(region.section(1).data() - region.section(0).data(), static_cast<std::ptrdiff_t>(4 * kMiB));
  for (std::size_t i = 1; i < kRegionSeeds; ++i) EXPECT_NE(region.seed(0).k0, region.seed(i).k0);
  struct stat status {};
  ASSERT_EQ(::stat(options.path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_GE(static_cast<std::size_t>(status.st_blocks) * 512, 8 * kMiB) << "every page is there";
}

TEST_F(Region, TheNextProcessGoesOn) {
  HashKey seed;
  std::chrono::milliseconds epoch;
  {
    MappedRegion region = open();
    seed = region.seed(3), epoch = region.epoch();
    region.section(0)[0] = region.section(0).back() = region.section(1).back() = std::byte{7};
  }
  {
    MappedRegion region = open();
    EXPECT_FALSE(region.fresh());
    EXPECT_FALSE(region.was_clean());
    EXPECT_EQ(region.starts(), 2u);
    EXPECT_EQ(region.seed(3).k0, seed.k0);
    EXPECT_EQ(region.seed(3).k1, seed.k1);
    EXPECT_EQ(region.epoch(), epoch);
    EXPECT_EQ(region.section(0)[0], std::byte{7});
    EXPECT_EQ(region.section(0).back(), std::byte{7});
    EXPECT_EQ(region.section(1).back(), std::byte{7});
    region.mark_clean();
  }
  EXPECT_TRUE(open().was_clean());
  EXPECT_FALSE(open().was_clean()) << "said of the last process only";
}

TEST_F(Region, AMovedOneIsTheSame) {
  MappedRegion first = open();
  first.section(1)[0] = std::byte{1};
  MappedRegion second(std::move(first));
  EXPECT_EQ(second.section(1)[0], std::byte{1});
  options.path = directory + "/b.state";
  second = open();
  EXPECT_TRUE(is_zero(second.section(1)));
}

TEST_F(Region, MakesItsDirectory) {
  options.path = directory + "/new/a.state";
  EXPECT_TRUE(open().fresh());
  struct stat status {};
  ASSERT_EQ(::stat((directory + "/new").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0022, 0u);
}

TEST_F(Region, RemovedWhileLockedNobodyGoesOnFromIt) {
  MappedRegion region = open();
  region.remove();
  EXPECT_FALSE(std::filesystem::exists(options.path));
  MappedRegion next = open();
  EXPECT_TRUE(next.fresh()) << "another file: the lock on the old one does not matter";
  region.remove();
  EXPECT_TRUE(std::filesystem::exists(options.path)) << "the name is another file's now";
}

// ---- set aside ----

struct AsideCase {
  std::string name, reason;
  std::function<void(RegionHeader&)> forge = {};       // sealed again afterwards
  std::function<void(RegionOptions&)> want = {};       // of the process that opens it
  std::function<void(const std::string&)> spoil = {};  // the file
};

const std::vector<AsideCase> kAside{
    {.name = "another format", .reason = "of format 2", .forge = [](RegionHeader& h) { h.version = 2; }},
    {.name = "another boot", .reason = "another boot", .forge = [](RegionHeader& h) { h.boot_id[0] ^= 1; }},
    {.name = "another instance",
     .reason = "the instance \"test\", not \"netns-7\"",
     .want = [](RegionOptions& o) { o.instance = "netns-7"; }},
    {.name = "no state file", .reason = "does not begin as", .forge = [](RegionHeader& h) { h.magic = 1; }},
    {.name = "more tables", .reason = "has 2 tables", .want = [](RegionOptions& o) { o.sections.pop_back(); }},
    {.name = "another table",
     .reason = "table 2 is \"affinity\", not \"names\"",
     .want = [](RegionOptions& o) { o.sections[1].name = "names"; }},
    {.name = "another capacity",
     .reason = "\"affinity\" takes 100 bytes, not 101: another capacity",
     .want = [](RegionOptions& o) { o.sections[1].bytes = 101; }},
    {.name = "another layout",
     .reason = "\"flows\" has another layout",
     .want = [](RegionOptions& o) { o.sections[0].layout = "flows 2"; }},
    {.name = "cut short",
     .reason = "8388607 bytes long, and should be 8388608",
     .spoil = [](const std::string& p) { std::filesystem::resize_file(p, 8 * kMiB - 1); }},
    {.name = "cut off behind the header",
     .reason = "2097152 bytes long",
     .spoil = [](const std::string& p) { std::filesystem::resize_file(p, 2 * kMiB); }},
    {.name = "too long",
     .reason = "should be 8388608",
     .spoil = [](const std::string& p) { std::filesystem::resize_file(p, std::uintmax_t{1} << 45); }},
    {.name = "too short for a header",
     .reason = "too short for a header",
     .spoil = [](const std::string& p) { std::filesystem::resize_file(p, sizeof(RegionHeader) - 1); }},
    {.name = "one byte",
     .reason = "1 bytes long, too short",
     .spoil = [](const std::string& p) { std::filesystem::resize_file(p, 1); }},
};

TEST_F(Region, WhatItMustNotReadIsSetAside) {
  for (const AsideCase& c : kAside) {
    SCOPED_TRACE(c.name);
    std::filesystem::remove(options.path);
    open().section(0)[0] = std::byte{7};
    if (c.forge) {
      RegionHeader forged = header();
      c.forge(forged);
      forged.checksum = forged.expected_checksum();
      write(&forged, sizeof forged);
    }
    if (c.spoil) c.spoil(options.path);
    const auto size = std::filesystem::file_size(options.path);
    RegionOptions wanted = options;
    if (c.want) c.want(wanted);
    {
      const MappedRegion region = open(wanted);
      EXPECT_TRUE(region.fresh());
      EXPECT_TRUE(is_zero(region.section(0)));
      ASSERT_EQ(region.warnings().size(), 1u);
      EXPECT_THAT(region.warnings()[0], HasSubstr(c.reason));
      EXPECT_THAT(region.warnings()[0], HasSubstr(aside()));
    }
    EXPECT_EQ(std::filesystem::file_size(aside()), size) << "the old file as it was, an older one gone";
    EXPECT_FALSE(open(wanted).fresh()) << "the new one is good";
  }
}

TEST_F(Region, EveryBitOfTheHeaderCounts) {
  open();
  const RegionHeader good = header();
  const RegionIdentity identity{good.boot_id.data(), options.instance, options.sections};
  ASSERT_EQ(objection(good, 8 * kMiB, identity), std::nullopt);
  for (std::size_t bit = 0; bit < 8 * offsetof(RegionHeader, starts); ++bit) {
    RegionHeader damaged = good;
    reinterpret_cast<unsigned char*>(&damaged)[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
    ASSERT_NE(objection(damaged, 8 * kMiB, identity), std::nullopt) << "bit " << bit;
  }
}

TEST_F(Region, DamagedBytesOfTheFile) {
  for (std::size_t at = 0; at < sizeof(RegionHeader); at += 37) {
    SCOPED_TRACE(at);
    open().section(0)[0] = std::byte{7};
    const RegionHeader good = header();
    const auto byte = static_cast<unsigned char>(~reinterpret_cast<const unsigned char*>(&good)[at]);
    write(&byte, 1, at);
    EXPECT_EQ(open().fresh(), at < offsetof(RegionHeader, starts)) << "starts and clean are of no consequence";
  }
}

TEST_F(Region, OneThatWasNeverFinishedIsMadeAgain) {
  open().section(0)[0] = std::byte{7};
  const std::uint64_t none = 0;
  write(&none, sizeof none);  // the magic
  const MappedRegion region = open();
  EXPECT_TRUE(region.fresh());
  EXPECT_TRUE(is_zero(region.section(0)));
  EXPECT_THAT(region.warnings(), testing::IsEmpty()) << "nothing was lost";
  EXPECT_FALSE(std::filesystem::exists(aside()));
}

TEST_F(Region, StartOver) {
  MappedRegion region = open();
  region.section(0)[0] = std::byte{7};
  const std::uint64_t old_seed = region.seed(0).k0;
  ASSERT_TRUE(region.start_over("its flows are damaged"));
  EXPECT_TRUE(region.fresh());
  EXPECT_TRUE(is_zero(region.section(0)));
  EXPECT_NE(region.seed(0).k0, old_seed);
  EXPECT_THAT(region.warnings(), testing::ElementsAre(HasSubstr("its flows are damaged")));
  EXPECT_TRUE(std::filesystem::exists(aside()));
  EXPECT_FALSE(MappedRegion::open(options)) << "the new file is locked";
}

// ---- refused ----

struct RefusedCase {
  std::string name;
  ErrorKind kind;
  std::string message;
  std::function<void(RegionOptions&, const std::string& directory)> arrange;
};

const std::vector<RefusedCase> kRefused{
    {"a symbolic link", ErrorKind::permission, "is a symbolic link",
     [](RegionOptions& o, const std::string& d) { std::filesystem::create_symlink(d + "/elsewhere", o.path); }},
    {"a directory", ErrorKind::runtime, "cannot open",
     [](RegionOptions& o, const std::string&) { std::filesystem::create_directory(o.path); }},
    {"a FIFO", ErrorKind::permission, "is not a regular file",
     [](RegionOptions& o, const std::string&) { ASSERT_EQ(::mkfifo(o.path.c_str(), 0600), 0); }},
    {"no file name", ErrorKind::configuration, "names no file",
     [](RegionOptions& o, const std::string& d) { o.path = d + "/"; }},
    {"no directory to make the directory in", ErrorKind::runtime, "cannot make the directory",
     [](RegionOptions& o, const std::string& d) { o.path = d + "/no/such/a.state"; }},
    {"a directory that others can write to", ErrorKind::permission, "can be written to by others",
     [](RegionOptions&, const std::string& d) { std::filesystem::permissions(d, std::filesystem::perms(0777)); }},
    {"no tmpfs", ErrorKind::unavailable, "state.path",
     [](RegionOptions& o, const std::string&) { o.path = "/proc/self/a.state"; }},
    {"no sections", ErrorKind::runtime, "1 to 16 sections",
     [](RegionOptions& o, const std::string&) { o.sections.clear(); }},
};

TEST_F(Region, Refused) {
  for (const RefusedCase& c : kRefused) {
    SCOPED_TRACE(c.name);
    std::filesystem::remove_all(directory);
    std::filesystem::create_directory(directory);
    std::filesystem::permissions(directory, std::filesystem::perms(0700));
    RegionOptions wanted = options;
    c.arrange(wanted, directory);
    const Result<MappedRegion> region = MappedRegion::open(wanted);
    ASSERT_FALSE(region);
    EXPECT_EQ(region.error().kind, c.kind);
    EXPECT_THAT(region.error().message, HasSubstr(c.message));
  }
}

TEST_F(Region, AFileOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  open();
  ASSERT_EQ(::chown(options.path.c_str(), 12345, 12345), 0);
  const Result<MappedRegion> region = MappedRegion::open(options);
  ASSERT_FALSE(region);
  EXPECT_THAT(region.error().message, HasSubstr("belongs to another user"));
}

// ---- several processes ----

/// A process that has the region, has written to it, and waits to be killed.
pid_t holder(const RegionOptions& options) {
  int pipe_ends[2];
  if (::pipe(pipe_ends) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    Result<MappedRegion> region = MappedRegion::open(options);
    if (!region) ::_exit(1);
    region->section(0)[0] = std::byte{42};
    if (::write(pipe_ends[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char ready;
  ::close(pipe_ends[1]);
  const bool works = ::read(pipe_ends[0], &ready, 1) == 1;
  ::close(pipe_ends[0]);
  return works ? child : -1;
}

TEST_F(Region, AnotherProcessHasIt) {
  const pid_t child = holder(options);
  ASSERT_GT(child, 0);
  const Result<MappedRegion> refused = MappedRegion::open(options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::unavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("in use by process " + std::to_string(child)));

  ::kill(child, SIGKILL);
  options.patience = std::chrono::seconds(10);
  const MappedRegion region = open();
  EXPECT_FALSE(region.fresh());
  EXPECT_EQ(region.section(0)[0], std::byte{42}) << "a killed process loses nothing";
  ::waitpid(child, nullptr, 0);
}

TEST_F(Region, AProgramThatIsStartedDoesNotKeepTheLock) {
  pid_t child = -1;
  {
    const MappedRegion region = open();
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    child = ::fork();
    if (child == 0) {
      ::execl("/bin/sleep", "sleep", "100", nullptr);
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    char nothing;
    EXPECT_EQ(::read(pipe_ends[0], &nothing, 1), 0) << "closed by exec";
    ::close(pipe_ends[0]);
  }
  EXPECT_TRUE(MappedRegion::open(options));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

// ---- a full file system ----

/// In a mount namespace of its own, on a tmpfs of this size: what the function returns. -1: not permitted.
int on_small_tmpfs(const std::string& directory, const char* size, const std::function<int()>& run) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(77);
    if (::mount("limpet", directory.c_str(), "tmpfs", 0, (std::string("mode=700,size=") + size).c_str()) != 0) {
      ::_exit(77);
    }
    ::_exit(run());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status)) return 1000;
  return WEXITSTATUS(status) == 77 ? -1 : WEXITSTATUS(status);
}

TEST_F(Region, AFullTmpfsIsAnErrorAtStart) {
  const int result = on_small_tmpfs(directory, "6m", [&] {
    const Result<MappedRegion> region = MappedRegion::open(options);
    if (region || region.error().kind != ErrorKind::unavailable) return 1;
    if (region.error().message.find("no room for 8 MiB of tables") == std::string::npos) return 2;
    return std::filesystem::file_size(options.path) == 0 ? 0 : 3;  // and what there was is given back
  });
  if (result < 0) GTEST_SKIP() << "mounting is not permitted here";
  EXPECT_EQ(result, 0);
}

TEST_F(Region, WithoutRoomForAnotherNothingIsLost) {
  const int result = on_small_tmpfs(directory, "12m", [&] {
    open().section(0)[0] = std::byte{7};
    RegionOptions other = options;
    other.instance = "other";
    const Result<MappedRegion> refused = MappedRegion::open(other);
    if (refused || refused.error().kind != ErrorKind::unavailable) return 1;
    for (const char* words : {"the instance \"test\"", "left as it is", "no room for another of 8 MiB", "remove it"}) {
      if (refused.error().message.find(words) == std::string::npos) return 2;
    }
    if (std::filesystem::exists(aside()) || std::filesystem::exists(options.path + ".new")) return 3;
    {
      MappedRegion region = open();
      if (region.fresh() || region.section(0)[0] != std::byte{7}) return 4;
      if (region.start_over("its flows are damaged")) return 5;
    }
    const MappedRegion region = open();
    return !region.fresh() && region.section(0)[0] == std::byte{7} ? 0 : 6;
  });
  if (result < 0) GTEST_SKIP() << "mounting is not permitted here";
  EXPECT_EQ(result, 0);
}

// Of files of 8 MiB, 16 MiB hold two and not three.
TEST_F(Region, WhatWasSetAsideBeforeGoesWhereThatMakesRoom) {
  const int result = on_small_tmpfs(directory, "20m", [&] {
    const auto inode = [](const std::string& path) {
      struct stat status {};
      return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
    };
    open();
    options.instance = "second";
    open();
    const auto first = inode(aside());
    const auto second = inode(options.path);
    if (::mount("limpet", directory.c_str(), "tmpfs", MS_REMOUNT, "size=16m") != 0) return 77;
    options.instance = "third";
    open();
    if (inode(aside()) != second || first == second) return 1;
    options.sections[0].bytes = 20 * kMiB;  // with what was set aside before gone there would not be enough
    const auto third = inode(options.path);
    if (MappedRegion::open(options)) return 2;
    return inode(aside()) == second && inode(options.path) == third ? 0 : 3;
  });
  if (result < 0 || result == 77) GTEST_SKIP() << "mounting is not permitted here";
  EXPECT_EQ(result, 0);
}

// A process that was killed while it replaced a file left the new one half made, or the old one under both names.
TEST_F(Region, WhatAKillLeftOfAReplacementDoesNotMatter) {
  open().section(0)[0] = std::byte{7};
  std::ofstream(options.path + ".new") << "half made";
  std::filesystem::create_hard_link(options.path, aside());
  EXPECT_FALSE(open().fresh());
  EXPECT_FALSE(std::filesystem::exists(options.path + ".new")) << "it may be as large as the tables";
  std::ofstream(options.path + ".new") << "half made";
  RegionOptions other = options;
  other.instance = "other";
  {
    const MappedRegion region = open(other);
    EXPECT_TRUE(region.fresh());
    EXPECT_TRUE(is_zero(region.section(0)));
  }
  EXPECT_FALSE(std::filesystem::exists(options.path + ".new"));
  options.path = aside();
  EXPECT_EQ(open().section(0)[0], std::byte{7});
}

TEST(RegionPath, IsOnTmpfsAndNamesTheInstance) {
  const std::string path = MappedRegion::default_path("netns-7");
  EXPECT_TRUE(path.ends_with("/netns-7.state")) << path;
  const bool run = path.starts_with("/run/limpet/");
  EXPECT_TRUE(run || path.starts_with("/dev/shm/limpet")) << path;
  EXPECT_TRUE(!run || is_tmpfs("/run") || is_tmpfs("/run/limpet"));
}

}  // namespace
}  // namespace limpet::store
