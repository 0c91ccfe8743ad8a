// affinity_transfer.h: `limpet affinity save|load|import-recent`: affinities out of a running daemon, and into one.
//
//   save FILE            all that it remembers, as text (lb/affinity/affinity_text.h), but for services and endpoints
//                        that its configuration no longer names
//   load FILE            …into it. Nothing is loaded if the file has an error, unless --lenient: then good lines are
//   import-recent        kube-proxy's `recent` lists in /proc/net/xt_recent (--from DIR), told by their names
//                        (lb/rules/recent_import.h)
//
// FILE - is standard output, or input. Ages go on: what has passed since the file was written, and since the lists were
// read, is added. Who is remembered by the daemon already is left as he is. What was taken and what was not is counted.
//
// The daemon is an interface, so that all this is tested without one. Exit codes: 0 done; 1 the table had no room for
// some, or a file cannot be written; 2 usage; 3 the file or a list has errors; 4 no daemon answers, no lists are there;
// 5 permission.
#pragma once

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include <CLI/App.hpp>

#include "conntrack/store/result.h"
#include "lb/affinity/affinity_text.h"
#include "lb/cli/api_option.h"
#include "lb/control/affinity_batch.h"
#include "lb/control/client.h"
#include "lb/rules/recent_import.h"

namespace limpet::cli {

/// A running daemon, as far as affinities go.
class AffinityPeer {
 public:
  AffinityPeer() = default;
  AffinityPeer(const AffinityPeer&) = delete;
  AffinityPeer& operator=(const AffinityPeer&) = delete;
  virtual ~AffinityPeer() = default;

  virtual store::Result<std::vector<rules::KnownEndpoint>> endpoints() = 0;
  /// At most control::kMostEntries.
  virtual store::Result<control::BatchOutcome> put(std::span<const affinity::NamedEntry> entries) = 0;
  /// Visits each entry; how many there were besides whose service or endpoint has no name any more.
  virtual store::Result<std::size_t> each(const std::function<void(const affinity::NamedEntry&)>& visit) = 0;
};

/// The one behind a socket.
class DaemonPeer final : public AffinityPeer {
 public:
  explicit DaemonPeer(control::Client client) : client_(std::move(client)) {}
  store::Result<std::vector<rules::KnownEndpoint>> endpoints() override;
  store::Result<control::BatchOutcome> put(std::span<const affinity::NamedEntry> entries) override;
  store::Result<std::size_t> each(const std::function<void(const affinity::NamedEntry&)>& visit) override;

 private:
  control::Client client_;
};

struct SaveCounts {
  std::size_t saved = 0;
  std::size_t nameless = 0;
};
/// Ages are written as they were at `now`, the time of the call.
store::Result<SaveCounts> save_affinities(AffinityPeer& peer, affinity::WallTime now, std::ostream& out);

/// Puts entries whose ages were true so long ago, in batches; while that takes time, they grow older.
store::Result<control::BatchOutcome> put_affinities(AffinityPeer& peer, std::vector<affinity::NamedEntry> entries,
                                                    flow::Milliseconds ago);

struct TransferOptions {
  DaemonAddress daemon{};
  std::string file{};                          // save, load
  std::string folder = "/proc/net/xt_recent";  // import-recent
  bool lenient = false;
  bool json = false;
};

int run_affinity_save(const TransferOptions& options, std::ostream& out, std::ostream& err);
int run_affinity_load(const TransferOptions& options, std::istream& in, std::ostream& out, std::ostream& err);
int run_affinity_import(const TransferOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommands of `limpet affinity`.
void add_affinity_transfer(CLI::App& affinity, int& exit_code);

}  // namespace limpet::cli
