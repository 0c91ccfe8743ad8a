// query.h: what a request asks for: "/v1/flows?client=10.0.0.0/8&limit=10", read strictly.
//
// A parameter that the resource does not know, that is given twice, or whose value is none, is an error that names it. The
// first error is kept; handlers read all that they know, then ask for the error.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "conntrack/net/address.h"

namespace limpet::control {

struct Response {
  unsigned status = 200;
  nlohmann::ordered_json body;
};

/// {"error": …, "remedy": …}
Response problem(unsigned status, std::string error, std::string remedy);

class Query {
 public:
  /// The part of a request's target before "?".
  static std::string path_of(std::string_view target);
  explicit Query(std::string_view target);

  // nullopt: not given, or no such value: then there is an error.
  std::optional<std::string> text(const std::string& name);
  std::optional<net::Prefix> prefix(const std::string& name);
  std::optional<net::Address> address(const std::string& name);
  std::optional<net::AddressPort> address_port(const std::string& name);
  std::optional<net::Protocol> protocol(const std::string& name);
  std::uint64_t number(const std::string& name, std::uint64_t least, std::uint64_t most, std::uint64_t otherwise);
  bool flag(const std::string& name);  // "true" or "false"

  /// What is wrong with it, once all that is known has been read.
  std::optional<Response> error();

 private:
  void reject(const std::string& name, const std::string& value, std::string_view wanted);

  std::map<std::string, std::string> given_;
  std::set<std::string> known_;
  std::optional<Response> error_;
};

/// `text` so that it can stand as a parameter's value.
std::string percent_encode(std::string_view text);

}  // namespace limpet::control
