// kubernetes_fuzz.cpp: any text as a file of Kubernetes objects.
//
// Every complaint has words and a line of the text. What is read makes services, whose claims are settled, which a catalog
// serves; and read in two halves of objects, one after the other, they come to the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lb/service/catalog.h"
#include "lb/service/kubernetes_reader.h"
#include "tests/fuzz/require.h"

namespace {

using namespace limpet::service;
using limpet::fuzz::require;

constexpr std::size_t kMostEndpoints = 4096;

bool nobody(std::uint32_t) {
  return false;
}

std::vector<Group> groups_of(const KubernetesObjects& objects) {
  std::vector<Group> groups;
  for (const auto& [key, object] : objects.objects()) {
    groups.push_back({.name = key.to_string(), .created = object->created, .services = objects.services(key)});
  }
  return groups;
}

std::vector<Service> served(const Catalog& catalog) {
  std::vector<Service> services;
  for (const auto& port : catalog.snapshot()->ports()) services.push_back(port->service());
  std::ranges::sort(services, {}, [](const Service& each) { return std::pair(each.name, each.family()); });
  return services;
}

void check_use(const std::vector<KubernetesObject>& read) {
  KubernetesObjects half, all;
  for (std::size_t i = 0; i < read.size(); ++i) {
    const auto apply = [&](KubernetesObjects& to) { std::visit([&](const auto& each) { to.apply(each); }, read[i]); };
    if (i % 2 == 0) apply(half);
    apply(all);
  }
  if (count_endpoints(all.services()) + count_endpoints(half.services()) > kMostEndpoints) return;
  limpet::datapath::EndpointSlots slots(2 * kMostEndpoints), other_slots(2 * kMostEndpoints);
  Identities names(slots), other_names(other_slots);
  Catalog at_once(names, {}, IcmpEcho::ignore), in_two(other_names, {}, IcmpEcho::ignore);
  require(static_cast<bool>(at_once.open(groups_of(all), {}, nobody)), "there is room for all");
  require(static_cast<bool>(in_two.open(groups_of(half), {}, nobody)), "there is room for half of it");
  require(static_cast<bool>(in_two.apply(groups_of(all), nobody)), "there is room for the rest");
  require(served(at_once) == served(in_two), "the order of changes does not matter");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const ReadObjects read = read_kubernetes(text, "objects.yaml");
  const auto lines = 1 + std::count(text.begin(), text.end(), '\n') + std::count(text.begin(), text.end(), '\r');
  for (const Diagnostic& diagnostic : read.diagnostics) {
    require(diagnostic.file == "objects.yaml" && !diagnostic.message.empty(), "a complaint says what and where");
    require(diagnostic.line >= 0 && diagnostic.line <= lines, "its line is one of the file's");
  }
  check_use(read.objects);
  return 0;
}
