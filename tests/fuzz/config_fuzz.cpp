// config_fuzz.cpp: any text as limpet.yaml.
//
// A configuration comes out exactly when nothing is an error, and every complaint has a place and words. What comes out
// is used: it is assigned its ids and made a snapshot.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "lb/service/config_reader.h"
#include "lb/service/identities.h"
#include "lb/service/snapshot.h"
#include "tests/fuzz/require.h"

namespace {

using namespace limpet::service;
using limpet::fuzz::require;

void check_use(const Config& config) {
  limpet::datapath::EndpointSlots slots(count_endpoints(config.services));
  auto ids = Identities(slots).assign(config.services);
  require(static_cast<bool>(ids), "there are as many slots as endpoints");
  const Snapshot snapshot(config.node, config.services, std::move(*ids));
  require(snapshot.size() == config.services.size(), "every service stands in the snapshot");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const LoadedConfig loaded = read_config(text, "limpet.yaml", "node-1");
  require(loaded.config.has_value() == !has_errors(loaded.diagnostics), "a configuration, or errors");
  const auto lines = 1 + std::count(text.begin(), text.end(), '\n') + std::count(text.begin(), text.end(), '\r');
  for (const Diagnostic& diagnostic : loaded.diagnostics) {
    require(diagnostic.file == "limpet.yaml" && !diagnostic.message.empty(), "a complaint says what and where");
    require(diagnostic.line >= 0 && diagnostic.line <= lines, "its line is one of the file's");
  }
  const auto before = [](const Diagnostic& a, const Diagnostic& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  };
  const bool sorted = std::is_sorted(loaded.diagnostics.begin(), loaded.diagnostics.end(), before);
  require(sorted, "complaints follow the file");
  if (loaded.config) check_use(*loaded.config);
  return 0;
}
