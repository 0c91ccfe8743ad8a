// kubernetes_text.h: JSON or YAML, one document or many, as JSON values; and where in the text a value stands.
//
// JSON is what begins with '{' or '['; documents follow one another, with or without white space between. Anything else
// is YAML, documents parted by "---": plain scalars become null, booleans and numbers by YAML's core schema, quoted ones
// stay text. Aliases are faults.
//
// line_of() reads the text again: it is for what is complained of.
#pragma once

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

/// The line, counted from 1, on which the value at `pointer` in the document of that number ends (JSON) or begins (YAML);
/// 0 if there is none.
int line_of(const std::string& text, std::size_t document, const nlohmann::json::json_pointer& pointer);

}  // namespace limpet::service
