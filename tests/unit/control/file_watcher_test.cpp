// Files changed in the ways that editors, kubectl and kubelet change them, and what the watcher says to it.
#include "lb/control/file_watcher.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <gtest/gtest.h>

#include "tests/unit/control/temporary_folder.h"

namespace limpet::control {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::chrono::seconds kDeadline{20};

void write(const fs::path& path, const std::string& text = "text") {
  std::ofstream(path) << text;
}

/// As kubelet publishes a ConfigMap: a folder of its own for each version, and one link that is swapped.
void publish(const fs::path& volume, const std::string& version) {
  fs::create_directory(volume / version);
  write(volume / version / "services.yaml", version);
  fs::create_symlink(version, volume / "..data_tmp");
  fs::rename(volume / "..data_tmp", volume / "..data");
}

/// A folder with, in it:
///   file.yaml, other.yaml                                files
///   folder/a.yaml                                        a folder
///   volume/..data → one/, volume/services.yaml → ..data/services.yaml
class FileWatcherTest : public testing::Test {
 protected:
  FileWatcherTest() {
    write(at("file.yaml"));
    write(at("other.yaml"));
    fs::create_directory(at("folder"));
    write(at("folder/a.yaml"));
    fs::create_directory(at("volume"));
    publish(at("volume"), "one");
    fs::create_symlink("..data/services.yaml", at("volume/services.yaml"));
  }
  fs::path at(const std::string& name) const { return folder_ / name; }

  void watch(std::vector<fs::path> paths, WatcherOptions options = {}) {
    auto watcher = FileWatcher::open(
        io_, std::move(paths),
        [this] {
          ++calls_;
          if (on_call_) on_call_();
        },
        options);
    ASSERT_TRUE(watcher) << watcher.error().message;
    watcher_ = std::move(*watcher);
  }
  /// Until the watcher has called once more. False: it did not, though it had plenty of time.
  bool called_again() {
    const int before = calls_;
    const auto give_up = std::chrono::steady_clock::now() + kDeadline;
    while (calls_ == before && std::chrono::steady_clock::now() < give_up) io_.run_one_until(give_up);
    return calls_ == before + 1;
  }
  /// Everything that could be done at once. With a settle time of nothing, that includes a callback.
  void do_what_there_is() {
    while (io_.poll() != 0) continue;
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  std::unique_ptr<FileWatcher> watcher_;
  int calls_ = 0;
  std::function<void()> on_call_;
};

constexpr WatcherOptions kAtOnce{.settle = milliseconds(0)};

struct Change {
  const char* name;
  std::vector<std::string> watched;
  /// Each is told by itself: so the watcher still sees after the first what it is to see.
  std::vector<std::function<void(const fs::path&)>> steps;
};

void PrintTo(const Change& change, std::ostream* out) {
  *out << change.name;
}

class FileWatcherSees : public FileWatcherTest, public testing::WithParamInterface<Change> {};

TEST_P(FileWatcherSees, EachStep) {
  std::vector<fs::path> paths;
  for (const std::string& name : GetParam().watched) paths.push_back(at(name));
  watch(paths, kAtOnce);
  int step = 0;
  for (const auto& change : GetParam().steps) {
    do_what_there_is();
    change(folder_ / "");
    EXPECT_TRUE(called_again()) << "step " << step;
    ++step;
  }
}

const auto kRewrite = [](const std::string& name) { return [name](const fs::path& in) { write(in / name, "new"); }; };
const auto kRemove = [](const std::string& name) { return [name](const fs::path& in) { fs::remove_all(in / name); }; };
const auto kFolder = [](const std::string& name) {
  return [name](const fs::path& in) { fs::create_directories(in / name); };
};
const auto kRename = [](const std::string& from, const std::string& to) {
  return [from, to](const fs::path& in) { fs::rename(in / from, in / to); };
};
const auto kPublish = [](const std::string& version) {
  return [version](const fs::path& in) { publish(in / "volume", version); };
};

INSTANTIATE_TEST_SUITE_P(
    Changes, FileWatcherSees,
    testing::Values(
        Change{"in_place", {"file.yaml"}, {kRewrite("file.yaml"), kRewrite("file.yaml")}},
        Change{"renamed_over", {"file.yaml"}, {kRename("other.yaml", "file.yaml"), kRewrite("file.yaml")}},
        Change{"deleted_and_back", {"file.yaml"}, {kRemove("file.yaml"), kRewrite("file.yaml"), kRewrite("file.yaml")}},
        Change{"moved_away_and_back",
               {"file.yaml"},
               {kRename("file.yaml", "elsewhere"), kRename("elsewhere", "file.yaml"), kRewrite("file.yaml")}},
        Change{"not_there_yet", {"new.yaml"}, {kRewrite("new.yaml"), kRewrite("new.yaml")}},
        Change{"not_even_its_folder",
               {"new/deep/x.yaml"},
               {kFolder("new"), kFolder("new/deep"), kRewrite("new/deep/x.yaml")}},
        Change{"folder_gets_a_file", {"folder"}, {kRewrite("folder/b.yaml"), kRewrite("folder/b.yaml")}},
        Change{"folder_loses_a_file", {"folder"}, {kRemove("folder/a.yaml")}},
        Change{"file_in_a_folder", {"folder"}, {kRewrite("folder/a.yaml"), kRename("other.yaml", "folder/a.yaml")}},
        Change{"file_leaves_a_folder", {"folder"}, {kRename("folder/a.yaml", "a.yaml")}},
        Change{"folder_replaced",
               {"folder"},
               {kRename("folder", "old"), kFolder("folder"), kRewrite("folder/a.yaml"), kRemove("folder"),
                kFolder("folder"), kRewrite("folder/a.yaml")}},
        Change{"parent_folder_replaced",
               {"folder/a.yaml"},
               {kRename("folder", "old"), kRename("old", "folder"), kRewrite("folder/a.yaml")}},
        Change{"volume_as_a_file",
               {"volume/services.yaml"},
               {kPublish("two"), kPublish("three"), kRewrite("volume/three/services.yaml")}},
        Change{"volume_as_a_folder",
               {"volume"},
               {kPublish("two"), kPublish("three"), kRewrite("volume/three/services.yaml")}},
        Change{"two_files", {"file.yaml", "other.yaml"}, {kRewrite("file.yaml"), kRewrite("other.yaml")}},
        Change{
            "file_and_its_folder", {"folder/a.yaml", "folder"}, {kRewrite("folder/b.yaml"), kRewrite("folder/a.yaml")}},
        Change{"beside_standard_input", {"-", "file.yaml"}, {kRewrite("file.yaml")}}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST_F(FileWatcherTest, SaysNothingToOthersNews) {
  watch({at("file.yaml"), at("volume/services.yaml")}, kAtOnce);
  write(at("other.yaml"), "new");
  write(at("third.yaml"));
  fs::remove(at("third.yaml"));
  write(at("volume/one/unasked.yaml"));
  fs::rename(at("folder"), at("moved"));
  do_what_there_is();
  EXPECT_EQ(calls_, 0);
  std::ifstream(at("file.yaml")).get();  // reading is no change
  do_what_there_is();
  EXPECT_EQ(calls_, 0);
  write(at("file.yaml"), "new");
  EXPECT_TRUE(called_again());
}

TEST_F(FileWatcherTest, NoLongerWatchesWhereALinkLedTo) {
  watch({at("volume/services.yaml")}, kAtOnce);
  publish(at("volume"), "two");
  EXPECT_TRUE(called_again());
  do_what_there_is();
  const int before = calls_;
  write(at("volume/one/services.yaml"), "late");
  do_what_there_is();
  EXPECT_EQ(calls_, before);
}

TEST_F(FileWatcherTest, ABurstIsOneCallback) {
  watch({at("file.yaml"), at("folder")});
  for (int i = 0; i < 100; ++i) {
    write(at("file.yaml"), std::to_string(i));
    write(at("folder/" + std::to_string(i)));
  }
  EXPECT_TRUE(called_again());
  do_what_there_is();
  EXPECT_EQ(calls_, 1);
}

TEST_F(FileWatcherTest, IsPatientOnlyForSoLong) {
  watch({at("file.yaml")}, {.settle = milliseconds(400), .patience = milliseconds(600)});
  boost::asio::steady_timer timer(io_);
  std::function<void()> change = [&] {  // never settles
    write(at("file.yaml"), "new");
    timer.expires_after(milliseconds(20));
    timer.async_wait([&](const boost::system::error_code& error) {
      if (!error) change();
    });
  };
  change();
  EXPECT_TRUE(called_again());
}

TEST_F(FileWatcherTest, TakesAnOverflowForNews) {
  int queued = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queued;
  ASSERT_GT(queued, 0);
  watch({at("file.yaml")}, kAtOnce);
  // Nobody asks for these, but they fill the queue: the change that follows is lost.
  for (int i = 0; i < queued; ++i) fs::rename(at(i % 2 == 0 ? "folder" : "moved"), at(i % 2 == 0 ? "moved" : "folder"));
  write(at("file.yaml"), "new");
  EXPECT_TRUE(called_again());
}

TEST_F(FileWatcherTest, WatchesOtherPathsWhereItIsTold) {
  watch({at("file.yaml")}, kAtOnce);
  watcher_->watch({at("other.yaml")});
  write(at("file.yaml"), "new");
  do_what_there_is();
  EXPECT_EQ(calls_, 0);
  write(at("other.yaml"), "new");
  EXPECT_TRUE(called_again());
}

TEST_F(FileWatcherTest, ACallbackMayDestroyIt) {
  watch({at("file.yaml")}, kAtOnce);
  on_call_ = [this] { watcher_.reset(); };
  write(at("file.yaml"), "new");
  EXPECT_TRUE(called_again());
  do_what_there_is();
  EXPECT_EQ(calls_, 1);
}

TEST_F(FileWatcherTest, LinksInACircleLeadNowhere) {
  fs::create_symlink("b.yaml", at("a.yaml"));
  fs::create_symlink("a.yaml", at("b.yaml"));
  watch({at("a.yaml")}, kAtOnce);
  fs::remove(at("b.yaml"));
  write(at("b.yaml"));
  EXPECT_TRUE(called_again());
}

TEST_F(FileWatcherTest, FollowsARelativePath) {
  watch({fs::relative(at("file.yaml"))}, kAtOnce);
  write(at("file.yaml"), "new");
  EXPECT_TRUE(called_again());
}

}  // namespace
}  // namespace limpet::control
