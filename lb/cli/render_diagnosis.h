// render_diagnosis.h: a Diagnosis as one JSON object for programs, or as tables for people.
//
//   {"kernel":"6.18.44","checks":[{"name","group","status":"found|missing|unknown|ok|attention","detail",
//    "consequence","remedy"},…],"datapaths":{"rewrite":{"works":true,"reason":"…"},"offload":…,"route":…}}
//
// For people each group is a table; a row that is not good is followed by what limpet does without it and what to do.
// The last table says what becomes of packets while limpet is not there.
#pragma once

#include <iosfwd>
#include <string>

#include "lb/divert/doctor_diagnosis.h"
#include "lb/service/config.h"

namespace limpet::cli {

/// On one line, without a line feed. What is not UTF-8 (a tool's words) is replaced.
std::string to_json(const divert::Diagnosis& diagnosis);

/// `config`: whose choices to mark in the last table; may be null.
void print_diagnosis(const divert::Diagnosis& diagnosis, const service::Config* config, bool colour, std::ostream& out);

}  // namespace limpet::cli
