// kubernetes_files.h: the Kubernetes objects of files and folders, read again when those have changed.
//
//   files ──▶ objects of each ──▶ all: of two with one key the one read last ──▶ what differs from before
//                                            ──▶ the Services that this touches, each as a Group for the Catalog
//
// A file is JSON or YAML as kubectl prints it (kubernetes_reader.h); `-` is standard input, read once; a folder stands for
// its files *.json, *.yaml and *.yml, in the order of their names.
//
// Nothing is lost to a bad moment: a file that cannot be read or parsed, is empty, or has vanished though it was named, is
// an error and keeps the objects that it had, and so is a folder with its files; a file that has left its folder takes its
// objects along. One that changes while it is read is read again. An object that makes no sense is
// left out with a warning: one bad service does not keep the others waiting.
//
// A file whose inode, size and times are as before is not opened, unless those times are only now. A pipe is read once, by
// the first read(): nobody may ever write to a later one. Not for the packet path, nor for a thread that others wait for: a
// file of 100 MB takes seconds. One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "lb/service/catalog.h"
#include "lb/service/diagnostic.h"
#include "lb/service/kubernetes_objects.h"
#include "lb/service/kubernetes_reader.h"

namespace limpet::service {

class KubernetesFiles {
 public:
  /// Paths as seen from the process. `node_name`: where an endpoint counts as this node's.
  KubernetesFiles(std::vector<std::string> paths, std::string node_name);

  struct News {
    std::vector<Group> groups;            // of Services that are, or may be, others now; in the order of their keys
    std::vector<Diagnostic> diagnostics;  // of what was read this time
  };
  /// What has changed since the last call; the first time everything.
  News read();

  /// Every Service as it is now.
  std::vector<Group> groups() const;
  const std::vector<std::string>& paths() const noexcept { return paths_; }

 private:
  using Object = std::shared_ptr<const KubernetesObject>;
  using Key = std::tuple<bool, std::string, std::string>;  // is it a slice? namespace, name
  using Signature = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::int64_t, std::int64_t>;
  struct Listed {
    std::string path;
    std::string from;  // the one of paths_ that leads to it
  };
  struct File {
    std::string from;       // as Listed's
    Signature signature{};  // none: to be read again whatever it looks like
    std::vector<Object> objects;
  };

  std::vector<Listed> list(std::vector<Diagnostic>& complaints) const;
  void look(const std::string& path, File& file, std::vector<Diagnostic>& complaints) const;
  static void cannot_read(const std::string& path, const std::string& cause, File& file,
                          std::vector<Diagnostic>& complaints);
  static void parse(const std::string& text, const std::string& name, File& file, std::vector<Diagnostic>& complaints);
  /// From `all_` to this; returns the keys of Services that are touched.
  std::vector<ObjectKey> settle(std::map<Key, Object> all);
  Group group_of(const ObjectKey& key) const;

  std::vector<std::string> paths_;
  std::map<std::string, File> files_;  // by path
  std::map<Key, Object> all_;
  KubernetesObjects objects_;  // the same
  bool has_read_ = false;
};

}  // namespace limpet::service
