// config_affinity.h: the section sessionAffinity of a native service.
//
//   None | ClientIP | {clientIP: {timeoutSeconds: 10800, refresh: connections|packets|never,
//                                 scope: port|service | group: NAME, prefixLength: N}}
//
// timeoutSeconds and the words None and ClientIP are Kubernetes'; the others are limpet's. Service ports that share a
// scope share one memory of clients, and so must state the same things of it.
#pragma once

#include <map>
#include <string>
#include <utility>

#include <yaml-cpp/yaml.h>

#include "lb/service/config_fields.h"
#include "lb/service/service.h"

namespace limpet::service {

/// Reads the section; service.name has been read.
void read_affinity(Fields& fields, Service& service);

/// Complains of service ports that share a scope and do not agree.
class SharedAffinities {
 public:
  explicit SharedAffinities(Report& report) : report_(report) {}
  void add(const Service& service, const YAML::Mark& at);

 private:
  struct First {
    Service service;
    YAML::Mark at;
  };
  Report& report_;
  std::map<std::string, First> scopes_;
};

}  // namespace limpet::service
