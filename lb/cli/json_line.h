// json_line.h: a JSON object as one line of output. Comments and chain names in rules are bytes of any encoding: what is not
// UTF-8 is shown as U+FFFD. Pure.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace limpet::cli {

template <typename Json>
std::string in_one_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace limpet::cli
