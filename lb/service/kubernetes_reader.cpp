#include "lb/service/kubernetes_reader.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "lb/service/kubernetes_text.h"

namespace limpet::service {
namespace {

using nlohmann::json;
using Pointer = json::json_pointer;

/// Why an object is left out: the first thing that it gets wrong.
struct Fault {
  Pointer at;
  std::string message;
};

/// A mapping of an object, and where it stands. Getters throw Fault on what cannot be meant.
class Fields {
 public:
  Fields(const json& value, Pointer at) : value_(value), at_(std::move(at)) {
    if (!value.is_object()) throw Fault{at_, "is not a mapping"};
  }

  /// nullptr: missing, or null.
  const json* find(const char* key) const {
    const auto found = value_.find(key);
    return found == value_.end() || found->is_null() ? nullptr : &*found;
  }
  std::string text(const char* key, std::string missing = {}) const {
    const json* const value = find(key);
    if (value == nullptr) return missing;
    if (!value->is_string()) fail(key, "is not text");
    return value->get<std::string>();
  }
  std::string required(const char* key) const {
    std::string value = text(key);
    if (value.empty()) fail(key, "is missing");
    return value;
  }
  bool flag(const char* key, bool missing) const {
    const json* const value = find(key);
    if (value == nullptr) return missing;
    if (!value->is_boolean()) fail(key, "is neither true nor false");
    return value->get<bool>();
  }
  std::int64_t number(const char* key, std::int64_t least, std::int64_t most, std::int64_t missing) const {
    const json* const value = find(key);
    if (value == nullptr) return missing;
    if (!value->is_number_integer()) fail(key, "is not a whole number");
    const bool beyond = value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX;
    const std::int64_t number = beyond ? INT64_MAX : value->get<std::int64_t>();
    if (number < least || number > most) {
      fail(key, "is " + value->dump() + "; it must be " + std::to_string(least) + " to " + std::to_string(most));
    }
    return number;
  }
  std::uint16_t port(const char* key) const { return static_cast<std::uint16_t>(number(key, 0, 65535, 0)); }
  net::Protocol protocol() const {
    const std::string word = text("protocol", "TCP");
    if (word == "TCP") return net::Protocol::tcp;
    if (word == "UDP") return net::Protocol::udp;
    if (word == "SCTP") return net::Protocol::sctp;
    fail("protocol", "is '" + word + "'; it must be TCP, UDP or SCTP");
  }
  /// Calls each(element, where it stands).
  template <typename Each>
  void each(const char* key, const Each& call) const {
    const json* const list = find(key);
    if (list == nullptr) return;
    if (!list->is_array()) fail(key, "is not a list");
    for (std::size_t i = 0; i < list->size(); ++i) call((*list)[i], at_ / key / i);
  }
  /// A mapping of its own; an empty one if it is missing.
  Fields section(const char* key) const {
    static const json kEmpty = json::object();
    const json* const value = find(key);
    return Fields(value == nullptr ? kEmpty : *value, at_ / key);
  }
  template <typename Convert>
  auto texts(const char* key, const Convert& convert) const {
    std::vector<decltype(convert(std::string(), Pointer()))> result;
    each(key, [&](const json& element, const Pointer& at) {
      if (!element.is_string()) throw Fault{at, "is not text"};
      result.push_back(convert(element.get<std::string>(), at));
    });
    return result;
  }
  [[noreturn]] void fail(const char* key, const std::string& message) const { throw Fault{at_ / key, message}; }

 private:
  const json& value_;
  Pointer at_;
};

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// "010.001.000.255" as 10.1.0.255: leading zeros were decimal once (Kubernetes' net/utils ParseIPSloppy).
std::string without_leading_zeros(const std::string& text) {
  if (text.find(':') != std::string::npos) return text;
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit_follows = i + 1 < text.size() && std::isdigit(static_cast<unsigned char>(text[i + 1])) != 0;
    const bool starts = result.empty() || std::isdigit(static_cast<unsigned char>(result.back())) == 0;
    if (text[i] == '0' && starts && digit_follows && result.find('/') == std::string::npos) continue;
    result += text[i];
  }
  return result;
}

net::Address to_address(const std::string& text, const Pointer& at) {
  const auto address = net::Address::parse(without_leading_zeros(trimmed(text)));
  if (!address) throw Fault{at, "is '" + text + "'; it must be an IP address"};
  return *address;
}

net::Prefix to_prefix(const std::string& text, const Pointer& at) {
  const std::string clean = without_leading_zeros(trimmed(text));
  const auto prefix = clean.find('/') == std::string::npos ? std::nullopt : net::Prefix::parse(clean);
  if (!prefix) throw Fault{at, "is '" + text + "'; it must be a CIDR, as in 10.0.0.0/8"};
  return *prefix;
}

const std::string kDefaultNamespace = "default";

ObjectKey key_of(const Fields& metadata) {
  ObjectKey key{metadata.text("namespace", kDefaultNamespace), metadata.required("name")};
  if (key.to_string().find_first_of(": ") != std::string::npos) metadata.fail("name", "is no name of an object");
  return key;
}

TrafficPolicy policy(const Fields& spec, const char* key) {
  const std::string word = spec.text(key, "Cluster");
  if (word == "Cluster") return TrafficPolicy::cluster;
  if (word == "Local") return TrafficPolicy::local;
  spec.fail(key, "is '" + word + "'; it must be Cluster or Local");
}

// ------------------------------------------------------------------------------------------------------------- Service

/// Services and their slices alike: kube-proxy asks the API server for those without these labels.
bool is_for_others(const Fields& labels) {
  return labels.find("service.kubernetes.io/service-proxy-name") != nullptr ||
         labels.find("service.kubernetes.io/headless") != nullptr;
}

std::string why_ignored(const Fields& labels, const Fields& spec) {
  const std::string cluster_ip = spec.text("clusterIP");
  if (spec.text("type") == "ExternalName") return "ExternalName";
  if (labels.find("service.kubernetes.io/service-proxy-name") != nullptr) return "another proxy's";
  if (labels.find("service.kubernetes.io/headless") != nullptr || cluster_ip == "None" || cluster_ip.empty()) {
    return "headless";
  }
  return {};
}

ServiceObject::Port read_port(const json& value, const Pointer& at) {
  const Fields fields(value, at);
  return {fields.text("name"), fields.protocol(), static_cast<std::uint16_t>(fields.number("port", 1, 65535, 0)),
          fields.port("nodePort")};
}

std::optional<flow::Seconds> read_affinity(const Fields& spec) {
  const std::string word = spec.text("sessionAffinity", "None");
  if (word == "None") return std::nullopt;
  if (word != "ClientIP") spec.fail("sessionAffinity", "is '" + word + "'; it must be None or ClientIP");
  constexpr std::int64_t kDefault = 10800;
  const Fields client = spec.section("sessionAffinityConfig").section("clientIP");
  return flow::Seconds(client.number("timeoutSeconds", 1, 86400, kDefault));
}

void read_load_balancer(const Fields& object, ServiceObject& service) {
  object.section("status").section("loadBalancer").each("ingress", [&](const json& value, const Pointer& at) {
    const Fields ingress(value, at);
    const std::string address = ingress.text("ip");
    if (address.empty() || ingress.text("ipMode", "VIP") == "Proxy") return;
    service.load_balancer_ips.push_back(to_address(address, at / "ip"));
  });
}

ServiceObject read_service(const Fields& object) {
  const Fields metadata = object.section("metadata");
  const Fields spec = object.section("spec");
  ServiceObject service;
  service.key = key_of(metadata);
  service.created = metadata.text("creationTimestamp");
  service.ignored = why_ignored(metadata.section("labels"), spec);
  if (!service.ignored.empty()) return service;
  service.cluster_ips = spec.texts("clusterIPs", to_address);
  if (service.cluster_ips.empty()) {
    service.cluster_ips.push_back(to_address(spec.required("clusterIP"), Pointer("/spec/clusterIP")));
  }
  spec.each("ports", [&](const json& value, const Pointer& at) { service.ports.push_back(read_port(value, at)); });
  service.external_ips = spec.texts("externalIPs", to_address);
  service.source_ranges = spec.texts("loadBalancerSourceRanges", to_prefix);
  read_load_balancer(object, service);
  service.external_policy = policy(spec, "externalTrafficPolicy");
  service.internal_policy = policy(spec, "internalTrafficPolicy");
  service.affinity_timeout = read_affinity(spec);
  const bool checked = spec.text("type") == "LoadBalancer" && service.external_policy == TrafficPolicy::local;
  if (checked) service.health_check_node_port = spec.port("healthCheckNodePort");
  return service;
}

// ----------------------------------------------------------------------------------------------------------- endpoints

SliceObject::Port read_slice_port(const json& value, const Pointer& at) {
  const Fields fields(value, at);
  return {fields.text("name"), fields.protocol(), fields.port("port")};
}

/// A port without a number is none.
void read_slice_ports(const Fields& from, SliceObject& slice) {
  from.each("ports", [&](const json& value, const Pointer& at) {
    const SliceObject::Port port = read_slice_port(value, at);
    if (port.port != 0) slice.ports.push_back(port);
  });
}

std::vector<std::string> read_hints(const Fields& hints, const char* key) {
  std::vector<std::string> names;
  hints.each(key, [&](const json& value, const Pointer& at) { names.push_back(Fields(value, at).required("name")); });
  return names;
}

/// v1beta1 named the node in `topology`.
std::string read_node_name(const Fields& endpoint) {
  const std::string name = endpoint.text("nodeName");
  return name.empty() ? endpoint.section("topology").text("kubernetes.io/hostname") : name;
}

void read_slice_endpoint(const json& value, const Pointer& at, SliceObject& slice) {
  const Fields fields(value, at);
  const auto addresses = fields.texts("addresses", to_address);
  if (addresses.empty()) return;
  const Fields conditions = fields.section("conditions");
  Endpoint endpoint;
  endpoint.at.address = addresses.front();
  endpoint.node_name = read_node_name(fields);
  endpoint.ready = conditions.flag("ready", true);
  endpoint.serving = conditions.flag("serving", true);
  endpoint.terminating = conditions.flag("terminating", false);
  endpoint.zone_hints = read_hints(fields.section("hints"), "forZones");
  endpoint.node_hints = read_hints(fields.section("hints"), "forNodes");
  slice.endpoints.push_back(std::move(endpoint));
}

void read_slice(const Fields& object, std::vector<KubernetesObject>& out) {
  const Fields metadata = object.section("metadata");
  SliceObject slice;
  slice.key = key_of(metadata);
  slice.service = {slice.key.space, metadata.section("labels").text("kubernetes.io/service-name")};
  const std::string type = object.text("addressType", "IPv4");  // v1beta1 knew "IP", and let it out
  if (slice.service.name.empty() || type == "FQDN" || is_for_others(metadata.section("labels"))) return;
  read_slice_ports(object, slice);
  object.each("endpoints", [&](const json& value, const Pointer& at) { read_slice_endpoint(value, at, slice); });
  out.push_back(std::move(slice));
}

void read_subset_addresses(const Fields& subset, const char* key, bool ready, SliceObject& slice) {
  subset.each(key, [&](const json& value, const Pointer& at) {
    const Fields fields(value, at);
    Endpoint endpoint;
    endpoint.at.address = to_address(fields.required("ip"), at / "ip");
    endpoint.node_name = fields.text("nodeName");
    endpoint.ready = endpoint.serving = ready;
    slice.endpoints.push_back(std::move(endpoint));
  });
}

/// Each subset as a slice. An Endpoints object without any takes away what an earlier one had: one empty slice.
void read_endpoints(const Fields& object, std::vector<KubernetesObject>& out) {
  const ObjectKey key = key_of(object.section("metadata"));
  SliceObject empty;
  empty.key = {key.space, key.name + "#0"};
  empty.service = key;
  empty.is_subset = true;
  std::vector<KubernetesObject> subsets;
  object.each("subsets", [&](const json& value, const Pointer& at) {
    const Fields subset(value, at);
    SliceObject slice = empty;
    slice.key.name = key.name + "#" + std::to_string(subsets.size());
    read_slice_ports(subset, slice);
    read_subset_addresses(subset, "addresses", true, slice);
    read_subset_addresses(subset, "notReadyAddresses", false, slice);
    subsets.push_back(std::move(slice));
  });
  if (subsets.empty()) subsets.push_back(std::move(empty));
  std::move(subsets.begin(), subsets.end(), std::back_inserter(out));
}

// --------------------------------------------------------------------------------------------------------------- texts

class Reader {
 public:
  Reader(const std::string& text, const std::string& file) : text_(text), file_(file) {}

  ReadObjects read() {
    ParsedText parsed = parse_documents(text_, file_);
    for (; document_ < parsed.documents.size(); ++document_) read(parsed.documents[document_], Pointer());
    name_lines();
    if (parsed.fault) result_.diagnostics.push_back(std::move(*parsed.fault));
    return std::move(result_);
  }

 private:
  void read(const json& value, const Pointer& at, int depth = 0) {
    if (value.is_null()) return;
    try {
      if (depth > kDeepest) throw Fault{Pointer(), "is a list in a list in a list"};
      for (std::size_t i = 0; value.is_array() && i < value.size(); ++i) read(value[i], at / i, depth + 1);
      if (value.is_array()) return;
      const Fields object(value, Pointer());
      const std::string kind = object.text("kind");
      if (kind.ends_with("List")) {
        object.each("items", [&](const json& item, const Pointer& pointer) { read(item, at / pointer, depth + 1); });
      } else {
        read(kind, object);
      }
    } catch (const Fault& fault) {
      leave_out(value, at, fault);
    }
  }

  void read(const std::string& kind, const Fields& object) {
    const std::string version = object.text("apiVersion");
    if (kind == "Service" && version == "v1") result_.objects.emplace_back(read_service(object));
    if (kind == "Endpoints" && version == "v1") read_endpoints(object, result_.objects);
    if (kind == "EndpointSlice" && version.starts_with("discovery.k8s.io/")) read_slice(object, result_.objects);
  }

  void leave_out(const json& object, const Pointer& at, const Fault& fault) {
    std::string field = fault.at.to_string();
    std::replace(field.begin(), field.end(), '/', '.');
    const auto text = [&](const json* from, const char* key) {
      const auto found = from == nullptr || !from->is_object() ? json() : from->value(key, json());
      return found.is_string() ? found.get<std::string>() : std::string();
    };
    const json* const metadata = object.is_object() && object.contains("metadata") ? &object.at("metadata") : nullptr;
    const std::string kind = text(&object, "kind");
    const std::string space = text(metadata, "namespace");
    const std::string name = (space.empty() ? kDefaultNamespace : space) + "/" + text(metadata, "name");
    places_.push_back({document_, at / fault.at});
    places_.push_back({document_, at});
    result_.diagnostics.push_back({file_, 0, 1, Severity::warning,
                                   (kind.empty() ? "an object" : kind + " " + name) + " is left out: " +
                                       (field.empty() ? "it" : field.substr(1)) + " " + fault.message});
  }

  /// Of what is complained of: the field's, or else its object's.
  void name_lines() {
    const std::vector<int> lines = lines_of(text_, places_);
    for (std::size_t i = 0; i < result_.diagnostics.size(); ++i) {
      result_.diagnostics[i].line = lines[2 * i] != 0 ? lines[2 * i] : lines[2 * i + 1];
    }
  }

  static constexpr int kDeepest = 2;  // a list of Lists

  const std::string& text_;
  const std::string& file_;
  std::size_t document_ = 0;
  ReadObjects result_;
  std::vector<TextPlace> places_;  // two of each diagnostic
};

}  // namespace

ReadObjects read_kubernetes(const std::string& text, const std::string& file) {
  return Reader(text, file).read();
}

}  // namespace limpet::service
