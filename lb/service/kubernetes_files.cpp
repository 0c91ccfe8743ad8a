#include "lb/service/kubernetes_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include <sys/stat.h>

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

}  // namespace

KubernetesFiles::KubernetesFiles(std::vector<std::string> paths, std::string node_name)
    : paths_(std::move(paths)), objects_(std::move(node_name)) {}

KubernetesFiles::News KubernetesFiles::read() {
  News news;
  std::map<std::string, File> files;
  const std::vector<std::string> paths = list(news.diagnostics);
  for (const std::string& path : paths) {
    auto known = files_.extract(path);
    File& file = known.empty() ? files[path] : files.insert(std::move(known)).position->second;
    look(path, file, news.diagnostics);
  }
  files_ = std::move(files);
  std::map<Key, Object> all;
  for (const std::string& path : paths) {
    for (const Object& object : files_.at(path).objects) {
      const auto key = std::visit(
          [](const auto& each) {
            return Key{std::is_same_v<decltype(each), const SliceObject&>, each.key.space, each.key.name};
          },
          *object);
      all.insert_or_assign(key, object);
    }
  }
  for (const ObjectKey& key : settle(std::move(all))) news.groups.push_back(group_of(key));
  return news;
}

/// The files, in the order in which they count. A folder that cannot be read keeps those that it had.
std::vector<std::string> KubernetesFiles::list(std::vector<Diagnostic>& complaints) const {
  std::vector<std::string> result;
  const auto add = [&](const std::string& file) {
    if (std::ranges::find(result, file) == result.end()) result.push_back(file);
  };
  for (const std::string& path : paths_) {
    std::error_code error;
    if (path == kStandardInput || !fs::is_directory(path, error)) {
      add(path);
      continue;
    }
    std::vector<std::string> inside;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
      const fs::path extension = entry->path().extension();
      if (extension == ".json" || extension == ".yaml" || extension == ".yml") inside.push_back(entry->path().string());
    }
    if (error) {
      complaints.push_back(unreadable(path, error.message()));
      for (const auto& [file, content] : files_) {
        if (fs::path(file).parent_path() == fs::path(path)) inside.push_back(file);
      }
    }
    std::ranges::sort(inside);
    for (const std::string& file : inside) add(file);
  }
  return result;
}

bool KubernetesFiles::look(const std::string& path, File& file, std::vector<Diagnostic>& complaints) const {
  const bool read_before = file.signature != Signature{};
  if (path == kStandardInput) {
    if (read_before) return false;
    file.signature = {1, 0, 0, 0, 0};
    parse({std::istreambuf_iterator<char>(std::cin), {}}, "standard input", file, complaints);
    return true;
  }
  struct stat status {};
  errno = 0;
  if (::stat(path.c_str(), &status) != 0) {
    file.signature = {};  // when it comes back it is read
    complaints.push_back(unreadable(path, last_error()));
    return false;
  }
  const Signature signature{status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim),
                            nanoseconds(status.st_ctim)};
  if (file.signature == signature) return false;
  std::ifstream in(path);
  std::string text;
  if (in) text.assign(std::istreambuf_iterator<char>(in), {});
  if (!in || in.bad()) {
    file.signature = {};
    complaints.push_back(unreadable(path, last_error()));
    return false;
  }
  file.signature = signature;
  parse(text, path, file, complaints);
  return true;
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
    touched.insert(std::visit([&](const auto& each) { return objects_.apply(each); }, *object));
  }
  all_ = std::move(all);
  return {touched.begin(), touched.end()};
}

Group KubernetesFiles::group_of(const ObjectKey& key) const {
  const auto object = objects_.objects().find(key);
  return {.name = key.to_string(),
          .created = object == objects_.objects().end() ? std::string() : object->second.created,
          .services = objects_.services(key)};
}

std::vector<Group> KubernetesFiles::groups() const {
  std::vector<Group> result;
  for (const auto& [key, object] : objects_.objects()) result.push_back(group_of(key));
  return result;
}

}  // namespace limpet::service
