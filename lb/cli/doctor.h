// doctor.h: `limpet doctor`: what of this kernel limpet can use, what is missing, what to do about it.
//
//   [-c limpet.yaml] [-j]
//
// Probes run in private namespaces (lb/divert/doctor_sandbox.h); of the machine itself everything is only read. With -c
// the configuration's rule back-end is the one that must work, and what would keep its packets from arriving is checked
// as `limpet run` does at its start.
// Exit codes: 0 the datapath `rewrite` works, 4 it does not, 5 no private namespace is allowed to this user, 2 usage,
// 3 configuration.
#pragma once

#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

namespace limpet::cli {

struct DoctorOptions {
  std::string config{};  // empty: none
  bool json = false;
  bool colour = false;
};

int run_doctor(const DoctorOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_doctor(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
