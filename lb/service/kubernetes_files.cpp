#include "lb/service/kubernetes_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conntrack/store/state_file.h"

namespace limpet::service {
namespace {

namespace fs = std::filesystem;

const std::string kStandardInput = "-";

Diagnostic unreadable(const std::string& path, const std::string& cause) {
  return {path, 0, 0, Severity::error,
          "cannot be read: " + cause + "; name a readable file, a folder, or - for standard input"};
}

std::string last_error() {
  return errno == 0 ? "unreadable" : std::strerror(errno);
}

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::int64_t, std::int64_t> signature_of(
    const struct stat& status) {
  return {status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

/// Times of files are as coarse as the kernel's tick: of one that was written just now, another writing may look the same.
bool is_settled(const struct stat& status) {
  constexpr std::int64_t kCoarse = 100'000'000;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(now) - std::max(nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)) > kCoarse;
}

/// False: errno says why.
bool read_all(int descriptor, std::string& text) {
  std::vector<char> piece(std::size_t{1} << 16);
  for (;;) {
    const ssize_t length = ::read(descriptor, piece.data(), piece.size());
    if (length == 0) return true;
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return false;
    text.append(piece.data(), static_cast<std::size_t>(length));
  }
}

}  // namespace

KubernetesFiles::KubernetesFiles(std::vector<std::string> paths, std::string node_name)
    : paths_(std::move(paths)), objects_(std::move(node_name)) {}

KubernetesFiles::News KubernetesFiles::read() {
  News news;
  std::map<std::string, File> files;
  const std::vector<Listed> listed = list(news.diagnostics);
  for (const auto& [path, from] : listed) {
    auto known = files_.extract(path);
    File& file = known.empty() ? files[path] : files.insert(std::move(known)).position->second;
    file.from = from;
    look(path, file, news.diagnostics);
  }
  files_ = std::move(files);
  std::map<Key, Object> all;
  for (const Listed& file : listed) {
    for (const Object& object : files_.at(file.path).objects) {
      const auto key = std::visit(
          [](const auto& each) {
            return Key{std::is_same_v<decltype(each), const SliceObject&>, each.key.space, each.key.name};
          },
          *object);
      all.insert_or_assign(key, object);
    }
  }
  has_read_ = true;
  for (const ObjectKey& key : settle(std::move(all))) news.groups.push_back(group_of(key));
  return news;
}

/// The files, in the order in which they count. A folder that is gone or cannot be read keeps those that it had.
std::vector<KubernetesFiles::Listed> KubernetesFiles::list(std::vector<Diagnostic>& complaints) const {
  std::vector<Listed> result;
  const auto add = [&](const std::string& file, const std::string& from) {
    if (std::ranges::find(result, file, &Listed::path) == result.end()) result.push_back({file, from});
  };
  for (const std::string& path : paths_) {
    std::error_code error;
    const bool is_folder = path != kStandardInput && fs::is_directory(path, error);
    std::vector<std::string> inside;
    for (const auto& [file, content] : files_) {
      if (!is_folder && content.from == path && file != path) inside.push_back(file);
    }
    if (!is_folder && inside.empty()) {
      add(path, path);
      continue;
    }
    if (!is_folder) complaints.push_back(unreadable(path, error ? error.message() : "it is no folder any more"));
    for (fs::directory_iterator entry(path, error), end; is_folder && !error && entry != end; entry.increment(error)) {
      const fs::path extension = entry->path().extension();
      std::error_code unknown;
      if (entry->is_directory(unknown)) continue;
      if (extension == ".json" || extension == ".yaml" || extension == ".yml") inside.push_back(entry->path().string());
    }
    if (is_folder && error) {
      complaints.push_back(unreadable(path, error.message()));
      for (const auto& [file, content] : files_) {
        if (content.from == path) inside.push_back(file);
      }
    }
    std::ranges::sort(inside);
    for (const std::string& file : inside) add(file, path);
  }
  return result;
}

void KubernetesFiles::look(const std::string& path, File& file, std::vector<Diagnostic>& complaints) const {
  static constexpr Signature kOnce{1, 0, 0, 0, 0};  // of what can be read once only: a pipe
  if (file.signature == kOnce) return;
  const bool piped = path == kStandardInput;
  struct stat before {};
  errno = 0;
  if (!piped && ::stat(path.c_str(), &before) != 0) return cannot_read(path, last_error(), file, complaints);
  if (!piped && S_ISDIR(before.st_mode)) return cannot_read(path, "it is a folder", file, complaints);
  const bool once = piped || !S_ISREG(before.st_mode);
  if (once && (has_read_ || file.from != path)) {
    return cannot_read(path, "it is no regular file; such is read at start, when it is named itself", file, complaints);
  }
  if (!once && file.signature == signature_of(before)) return;
  const store::FileDescriptor descriptor(piped ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!descriptor || !read_all(descriptor.get(), text)) {
    return cannot_read(path, last_error(), file, complaints);
  }
  struct stat after {};
  if (!once && (::fstat(descriptor.get(), &after) != 0 || signature_of(after) != signature_of(before))) {
    file.signature = {};  // it is being written: its end is news, too
    return;
  }
  const bool empty = text.find_first_not_of(" \t\r\n") == std::string::npos;
  if (empty && !file.objects.empty()) return cannot_read(path, "it is empty now", file, complaints);
  file.signature = once ? kOnce : is_settled(before) ? signature_of(before) : Signature{};
  parse(text, piped ? "standard input" : path, file, complaints);
}

void KubernetesFiles::cannot_read(const std::string& path, const std::string& cause, File& file,
                                  std::vector<Diagnostic>& complaints) {
  file.signature = {};  // when it comes back it is read
  complaints.push_back(unreadable(path, cause));
}

void KubernetesFiles::parse(const std::string& text, const std::string& name, File& file,
                            std::vector<Diagnostic>& complaints) {
  ReadObjects found = read_kubernetes(text, name);
  const bool broken = has_errors(found.diagnostics);
  std::ranges::move(found.diagnostics, std::back_inserter(complaints));
  if (broken) return;
  file.objects.clear();
  for (KubernetesObject& object : found.objects) {
    file.objects.push_back(std::make_shared<const KubernetesObject>(std::move(object)));
  }
}

std::vector<ObjectKey> KubernetesFiles::settle(std::map<Key, Object> all) {
  std::set<ObjectKey> touched;
  const auto key_of = [](const Key& key) { return ObjectKey{std::get<1>(key), std::get<2>(key)}; };
  for (const auto& [key, object] : all_) {
    if (all.contains(key)) continue;
    if (const auto* const slice = std::get_if<SliceObject>(&*object)) {
      touched.insert(slice->service);
      objects_.remove_slice(slice->key);
    } else {
      touched.insert(key_of(key));
      objects_.remove_service(key_of(key));
    }
  }
  for (const auto& [key, object] : all) {
    const auto before = all_.find(key);
    if (before != all_.end() && (before->second == object || *before->second == *object)) continue;
    if (before != all_.end()) {
      if (const auto* const slice = std::get_if<SliceObject>(&*before->second)) touched.insert(slice->service);
    }
    const auto apply = [&, &owner = object]<typename Each>(const Each& each) {
      return objects_.apply(std::shared_ptr<const Each>(owner, &each));
    };
    touched.insert(std::visit(apply, *object));
  }
  all_ = std::move(all);
  return {touched.begin(), touched.end()};
}

Group KubernetesFiles::group_of(const ObjectKey& key) const {
  const auto object = objects_.objects().find(key);
  return {.name = key.to_string(),
          .created = object == objects_.objects().end() ? std::string() : object->second->created,
          .services = objects_.services(key)};
}

std::vector<Group> KubernetesFiles::groups() const {
  std::vector<Group> result;
  for (const auto& [key, object] : objects_.objects()) result.push_back(group_of(key));
  return result;
}

}  // namespace limpet::service
