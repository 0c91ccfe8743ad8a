// kubernetes_reader.h: Kubernetes objects, as `kubectl get services,endpointslices -A -o json` or `-o yaml` prints them.
//
//   text ── JSON, or YAML ──▶ documents, one or many ──▶ a List, or a list, is its items ──▶ Service, EndpointSlice, Endpoints
//
// v1 Service; discovery.k8s.io/v1 and v1beta1 EndpointSlice; v1 Endpoints. Of other kinds nothing is read, and nothing is
// said: a dump of everything is welcome. Fields that a proxy does not ask for are not looked at.
//
// Lenient where an API server was: a white space around an address, octets with leading zeros (decimal), null for what is
// missing. An object that makes no sense is left out, with a warning that names it, its line and the field; the others are
// not touched by it. Text that cannot be parsed at all is an error: what it would have said is not known.
//
// JSON is read by nlohmann::json, YAML by yaml-cpp into the same form; lines are looked up only for what is complained
// of. Format: Kubernetes API reference v1.34.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lb/service/diagnostic.h"
#include "lb/service/kubernetes_objects.h"

namespace limpet::service {

using KubernetesObject = std::variant<ServiceObject, SliceObject>;

struct ReadObjects {
  std::vector<KubernetesObject> objects;  // in the order of the text
  std::vector<Diagnostic> diagnostics;
};

/// `file` names the text in diagnostics.
ReadObjects read_kubernetes(const std::string& text, const std::string& file);

}  // namespace limpet::service
