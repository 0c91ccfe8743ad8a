#include "lb/service/config_kubernetes.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <system_error>
#include <utility>

#include "lb/service/kubernetes_objects.h"
#include "lb/service/kubernetes_reader.h"

namespace limpet::service {
namespace {

namespace fs = std::filesystem;

class Loader {
 public:
  explicit Loader(std::string node_name) : objects_(std::move(node_name)) {}

  void load(const fs::path& path) {
    std::error_code error;
    if (path == "-") {
      read(std::cin, "standard input");
    } else if (fs::is_directory(path, error)) {
      load_folder(path);
    } else {
      load_file(path);
    }
  }
  const KubernetesObjects& objects() const noexcept { return objects_; }
  std::vector<Diagnostic> take() { return std::move(diagnostics_); }

 private:
  void load_folder(const fs::path& folder) {
    std::error_code error;
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
      const fs::path extension = entry.path().extension();
      if (extension == ".json" || extension == ".yaml" || extension == ".yml") files.push_back(entry.path());
    }
    if (error) return refuse(folder, error.message());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) load_file(file);
  }
  void load_file(const fs::path& path) {
    errno = 0;
    std::ifstream file(path);
    if (!file) return refuse(path, errno == 0 ? "unreadable" : std::strerror(errno));
    read(file, path.string());
  }
  void read(std::istream& in, const std::string& name) {
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    if (in.bad()) return refuse(name, "unreadable");
    ReadObjects found = read_kubernetes(text, name);
    std::move(found.diagnostics.begin(), found.diagnostics.end(), std::back_inserter(diagnostics_));
    for (KubernetesObject& object : found.objects) {
      std::visit([&](auto& each) { objects_.apply(std::move(each)); }, object);
    }
  }
  void refuse(const fs::path& path, const std::string& cause) {
    diagnostics_.push_back({path.string(), 0, 0, Severity::error,
                            "cannot be read: " + cause + "; name a readable file, a folder, or - for standard input"});
  }

  KubernetesObjects objects_;
  std::vector<Diagnostic> diagnostics_;
};

}  // namespace

std::vector<Diagnostic> load_kubernetes(const std::string& file, Config& config) {
  if (config.kubernetes_files.empty()) return {};
  Loader loader(config.node.name);
  for (const std::string& path : config.kubernetes_files) loader.load(path);
  const std::size_t native = config.services.size();
  std::vector<Service> services = loader.objects().services();
  std::move(services.begin(), services.end(), std::back_inserter(config.services));
  std::vector<Diagnostic> diagnostics = loader.take();
  for (std::string& lost : settle_conflicts(loader.objects(), config.services, native)) {
    diagnostics.push_back({file, 0, 0, Severity::warning, std::move(lost)});
  }
  return diagnostics;
}

}  // namespace limpet::service
