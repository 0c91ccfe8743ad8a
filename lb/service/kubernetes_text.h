// kubernetes_text.h: JSON or YAML, one document or many, as JSON values; and where in the text a value stands.
//
// JSON is what begins with '{' or '['; documents follow one another, with or without white space between. Anything else
// is YAML, documents parted by "---": plain scalars become null, booleans and numbers by YAML's core schema, quoted ones
// stay text. Aliases are faults.
//
// lines_of() reads the text again, once for all that it is asked for: it is for what is complained of. O(text + places).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lb/service/diagnostic.h"

namespace limpet::service {

struct ParsedText {
  std::vector<nlohmann::json> documents;  // those before a fault
  std::optional<Diagnostic> fault;        // what is wrong with the text after them
};

ParsedText parse_documents(const std::string& text, const std::string& file);

/// A value: in the document of that number, counted from 0, at `pointer`.
struct TextPlace {
  std::size_t document = 0;
  nlohmann::json::json_pointer pointer;
};

/// For each place the line, counted from 1, on which its value ends (JSON) or begins (YAML); 0 if there is none.
std::vector<int> lines_of(const std::string& text, const std::vector<TextPlace>& places);

}  // namespace limpet::service
