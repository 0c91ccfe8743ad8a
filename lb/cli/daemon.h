// daemon.h: limpet at work: queues served, rules in place, the node followed, signals obeyed.
//
//   start   queues bound and configured → the instance lock → workers → rules (never a rule before somebody reads the
//           queue)
//   serve   one control thread on Boost.Asio: signals, the node's changes, the kernel's drop counters; a thread for each queue
//   stop    `keep`: answer what is queued, leave the rules for the next process
//           `remove`: take away the rules of raw, give endpoints 200 ms to answer what they have, wait until the queues
//           are empty (half a second in all), take away the rules of mangle, answer the rest. A reply later than that
//           leaves untranslated; so do replies to masqueraded connections, whose rules are raw's
//   API     a unix socket (lb/control/server.h), while it serves. One that cannot be had is a warning: the
//           balancing is what counts
//   health  Services' healthCheckNodePorts, /healthz and /livez (lb/control/health_checks.h), while it serves. It is
//           healthy as long as the rules say what they should
//   rules   looked at every divert.checkSeconds: what another hand has changed is repaired
//   node    read 50 ms after the first news of a change, however many follow; what fails is tried again each second
//
//   objects of Kubernetes   read by another thread when their files change; what a change needs is diverted before workers
//           decide by it, what it no longer needs once no connection does. A Service that does not fit into the tables
//           goes on without its new endpoints (if it is new: is left out), and is tried again with each later change and
//           every ten seconds; the others do not wait for it
//
//   SIGTERM, SIGINT   stop     SIGUSR1   log one line `stats {…}`     SIGHUP   look at the objects' files (the configura-
//                                                                              tion itself is read at start only)
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "conntrack/store/result.h"
#include "lb/cli/engine.h"
#include "lb/cli/engine_tables.h"
#include "lb/control/health_checks.h"
#include "lb/control/object_reloader.h"
#include "lb/control/server.h"
#include "lb/control/tracing.h"
#include "lb/divert/diverter.h"
#include "lb/node/node_monitor.h"
#include "lb/queue/worker.h"
#include "lb/service/config.h"

namespace limpet::cli {

class Daemon {
 public:
  /// Serves until a signal stops it.
  static store::Status run(const service::Config& config);

 private:
  using Worker = queue::Worker<queue::PipelineHandler>;
  /// After a change of the rules that failed.
  static constexpr std::chrono::milliseconds kTryAgain{1000};

  Daemon(const service::Config& config, node::NodeMonitor monitor, divert::Diverter diverter,
         std::unique_ptr<Engine> engine);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  store::Status bind_queues();
  void start_workers();
  void stop_workers();
  store::Status divert();
  store::Status stop();

  void watch_signals();
  void watch_node();
  /// One reading is awaited at a time: a burst of news does not put it off.
  void read_node_after(std::chrono::milliseconds delay);
  /// False if it is to be tried again.
  bool adapt_to_node();
  void watch_drops();
  void sweep();
  void change_diversion(const datapath::PlanDelta& delta);
  void watch_rules();
  void repair_rules();
  void watch_objects();
  void adopt(service::KubernetesFiles::News news);
  /// Those that do not fit are found, and refused.
  void change_services(std::vector<service::Group> groups);
  void refuse(service::Group group, const store::Error& why);
  store::Status try_to_change_services(const std::vector<service::Group>& groups);
  void try_refused_again();
  /// Of service ports that are new, or others: each complaint once.
  void warn_of_what_cannot_work(const service::Snapshot::Ports& ports);
  void open_api();
  void answer_health_checks();
  nlohmann::ordered_json queue_stats() const;
  nlohmann::ordered_json diversion_stats() const;
  void log_stats() const;

  const service::Config& config_;
  node::NodeMonitor monitor_;
  divert::Diverter diverter_;
  std::unique_ptr<Engine> engine_;
  datapath::DiversionPlan plan_;                   // what the rules say now
  std::chrono::system_clock::time_point adapted_;  // the rules, for the last time
  std::uint64_t drift_repairs_ = 0;
  divert::Warnings warnings_;  // as last logged
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::atomic<queue::Command> command_{queue::Command::run};
  bool ready_ = false;
  std::uint64_t drops_ = 0;  // the kernel's, as last logged

  EngineTables tables_;  // these two outlive io_, whose handlers use them
  control::Tracing tracing_;
  boost::asio::io_context io_;
  boost::asio::signal_set signals_;
  boost::asio::posix::stream_descriptor node_events_{io_};
  boost::asio::steady_timer node_timer_{io_};
  bool node_read_awaited_ = false;
  boost::asio::steady_timer drop_timer_{io_};
  boost::asio::steady_timer sweep_timer_{io_};
  boost::asio::steady_timer rules_timer_{io_};

  std::unique_ptr<control::Server> server_;  // nullptr: there is no API
  std::unique_ptr<control::HealthChecks> health_;
  std::unique_ptr<control::ObjectReloader> reloader_;  // nullptr: there are no objects
  std::map<std::string, service::Group> refused_;      // Services that did not fit, by name
  std::set<std::string> complaints_;                   // of services that cannot work as they are, as logged
};

}  // namespace limpet::cli
