#include "lb/cli/daemon.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <sstream>
#include <string>
#include <utility>

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include "lb/cli/divert_options.h"
#include "lb/cli/notify.h"
#include "lb/divert/instance_lock.h"
#include "lb/divert/preflight.h"
#include "lb/node/instance_name.h"
#include "lb/queue/queue_socket.h"

namespace limpet::cli {

namespace asio = boost::asio;
using store::Status;

namespace {

/// Addresses and routes come in bursts: act when they have settled.
constexpr std::chrono::milliseconds kNodeSettles{50};
constexpr std::chrono::seconds kLookAround{10};
constexpr std::chrono::seconds kSweepEvery{1};
/// A killed process lets go of its queues and of the instance lock a little later.
constexpr std::chrono::milliseconds kPatience{1000};
/// After the request rules are gone, an endpoint has so long to answer what it has received,
constexpr std::chrono::milliseconds kReplyGrace{200};
/// and the queues have so long in all to become empty.
constexpr std::chrono::milliseconds kQuiet{500};

bool is_ours(const queue::KernelQueueStats& stats, const service::Config& config) {
  return stats.number >= config.queues.first && stats.number < config.queues.first + config.queues.count;
}

void wait_until_quiet(const service::Config& config) {
  const auto give_up = std::chrono::steady_clock::now() + kQuiet;
  std::this_thread::sleep_for(kReplyGrace);
  while (std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto all = queue::kernel_queue_stats();
    const bool waiting = std::any_of(all.begin(), all.end(), [&](const queue::KernelQueueStats& stats) {
      return is_ours(stats, config) && stats.waiting > 0;
    });
    if (!waiting) return;
  }
}

void warn(const divert::Warnings& warnings) {
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);
}

/// Of a program: what it is, what was added to it, what it will not do.
void tell_of(const RuleProgram* program) {
  if (program == nullptr) return;
  spdlog::info("runs {}", program->summary());
  std::istringstream added(program->completion());
  for (std::string rule; std::getline(added, rule);) spdlog::info("completed by {}", rule);
  warn(program->remarks());
}

/// Signals are the control thread's business.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

Daemon::Daemon(const service::Config& config, node::NodeMonitor monitor, divert::Diverter diverter,
               std::unique_ptr<Engine> engine)
    : config_(config),
      monitor_(std::move(monitor)),
      diverter_(std::move(diverter)),
      engine_(std::move(engine)),
      tables_(
          *engine_, [this] { return queue_stats(); }, [this] { return diversion_stats(); }),
      tracing_(engine_->observers(), config.queues.count),
      signals_(io_, SIGTERM, SIGINT) {
  signals_.add(SIGHUP);
  signals_.add(SIGUSR1);
}

Daemon::~Daemon() {
  stop_workers();
  if (!ready_ && !engine_->inherits()) engine_->close(true);  // a start that failed leaves nothing behind
  if (node_events_.is_open()) node_events_.release();         // the descriptor is the monitor's
}

Status Daemon::run(const service::Config& config) {
  std::signal(SIGPIPE, SIG_IGN);  // a log that nobody reads any more is no reason to leave the rules behind
  auto monitor = node::NodeMonitor::open();
  if (!monitor) return monitor.error();
  auto node = monitor->snapshot();
  if (!node) return node.error();
  auto program = RuleProgram::open(config);
  if (!program) return program.error();
  auto diverter = divert::Diverter::open(divert_options(config, program->get()));
  if (!diverter) return diverter.error();
  auto engine = Engine::build(config, std::move(*node), std::move(*program));
  if (!engine) return engine.error();

  Daemon daemon(config, std::move(*monitor), std::move(*diverter), std::move(*engine));
  warn(daemon.engine_->warnings());
  tell_of(daemon.engine_->rules());
  if (const std::string inherited = daemon.engine_->inheritance(); !inherited.empty())
    spdlog::info("took over {}", inherited);
  if (Status bound = daemon.bind_queues(); !bound) return bound;
  // After the queues: who finds them taken says which.
  const auto lock = divert::InstanceLock::take(kPatience);
  if (!lock) return lock.error();
  daemon.watch_signals();  // from here on a signal means an orderly stop
  daemon.start_workers();
  if (Status diverted = daemon.divert(); !diverted) return diverted;
  daemon.watch_node();
  daemon.watch_drops();
  daemon.watch_rules();
  daemon.sweep();
  daemon.open_api();
  daemon.answer_health_checks();
  daemon.change_services(daemon.engine_->take_left_out());  // says which, and why
  daemon.watch_objects();
  spdlog::info("ready: {} service ports, queues {}-{}, {}", daemon.engine_->snapshot()->size(), config.queues.first,
               config.queues.first + config.queues.count - 1, daemon.diverter_.backend());
  daemon.ready_ = true;
  notify_service_manager("READY=1");
  daemon.io_.run();
  return daemon.stop();
}

Status Daemon::bind_queues() {
  for (unsigned i = 0; i < config_.queues.count; ++i) {
    auto socket = queue::QueueSocket::open(
        {.number = static_cast<std::uint16_t>(config_.queues.first + i), .max_length = config_.queues.max_length});
    if (!socket) return socket.error();
    for (const std::string& warning : socket->warnings()) spdlog::warn("{}", warning);
    workers_.push_back(std::make_unique<Worker>(std::move(*socket), config_.queues.batch, engine_->handler(i)));
  }
  return store::ok();
}

void Daemon::start_workers() {
  const SignalsBlocked blocked;
  for (const auto& worker : workers_) {
    threads_.emplace_back([this, &worker = *worker] { worker.run(command_); });
    pthread_setname_np(threads_.back().native_handle(), ("queue-" + std::to_string(worker->queue())).c_str());
  }
}

void Daemon::stop_workers() {
  command_.store(queue::Command::drain);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

Status Daemon::divert() {
  plan_ = engine_->plan();
  const auto node = engine_->node();
  warn_of_what_cannot_work(engine_->snapshot()->ports());
  warn(divert::preflight(plan_));
  auto diverted = apply_or_remove(diverter_, plan_, route_sources(config_, *node));
  if (!diverted) return diverted.error();
  adapted_ = std::chrono::system_clock::now();
  warnings_ = std::move(*diverted);
  warn(warnings_);
  return store::ok();
}

Status Daemon::stop() {
  notify_service_manager("STOPPING=1");
  server_.reset();
  health_.reset();
  Status removed = store::ok();
  if (config_.on_stop == service::OnStop::remove) {
    removed = diverter_.remove_requests();
    wait_until_quiet(config_);
    if (Status rest = diverter_.remove_replies(); !rest) removed = rest;
  }
  stop_workers();
  log_stats();
  const bool remove = config_.on_stop == service::OnStop::remove;
  engine_->close(remove && removed);
  reloader_.reset();  // last: a reading that is under way is waited for
  spdlog::info("stopped: rules and state {}", remove ? "removed" : "kept for the next process");
  return removed;
}

void Daemon::watch_signals() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    if (signal == SIGTERM || signal == SIGINT) {
      spdlog::info("stopping: signal {}", signal);
      io_.stop();
      return;
    }
    if (signal == SIGUSR1) log_stats();
    if (signal == SIGHUP) {
      if (reloader_) reloader_->ask();
      spdlog::info("SIGHUP: {}, the configuration itself at start only",
                   reloader_ ? "looks at the files of Kubernetes objects" : "there are no Kubernetes objects to read");
    }
    watch_signals();
  });
}

void Daemon::watch_node() {
  if (!node_events_.is_open()) node_events_.assign(monitor_.descriptor());
  node_events_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const boost::system::error_code& error) {
    if (error) return;
    if (monitor_.drain()) read_node_after(kNodeSettles);
    watch_node();
  });
}

void Daemon::read_node_after(std::chrono::milliseconds delay) {
  if (std::exchange(node_read_awaited_, true)) return;
  node_timer_.expires_after(delay);
  node_timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    node_read_awaited_ = false;
    if (!adapt_to_node()) read_node_after(kTryAgain);
  });
}

bool Daemon::adapt_to_node() {
  auto node = monitor_.snapshot();
  if (!node) {
    spdlog::error("cannot read the node's addresses, will try again, going on with the former ones: {}",
                  node.error().message);
    return false;
  }
  const divert::RouteSources sources = route_sources(config_, *node);
  if (health_ != nullptr) health_->update(engine_->health_checked(), config_.node, *node);
  const datapath::DiversionPlan next = engine_->update(std::move(*node));
  const bool news = diverter_.in_doubt() || next != plan_;
  plan_ = next;
  // Also when the plan is the same: a VIP may have lost the route that local clients took to it.
  auto updated = diverter_.update(next, sources);
  engine_->follow();  // also when that has failed: a former address may be gone
  if (!updated) {
    spdlog::error("cannot adapt the rules to the node's addresses, will try again: {}", updated.error().message);
    return false;
  }
  adapted_ = std::chrono::system_clock::now();
  if (*updated != warnings_) warn(*updated);
  warnings_ = std::move(*updated);
  if (news) spdlog::info("rules adapted to the node's addresses: {} destinations", next.services.size());
  return true;
}

void Daemon::watch_drops() {
  drop_timer_.expires_after(kLookAround);
  drop_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    std::uint64_t drops = 0;
    for (const queue::KernelQueueStats& stats : queue::kernel_queue_stats()) {
      if (is_ours(stats, config_)) drops += stats.dropped_full + stats.dropped_overrun;
    }
    if (drops > drops_) {
      spdlog::warn("the kernel dropped {} packets before they reached us: raise queues.maxLength, or add queues",
                   drops - drops_);
    }
    drops_ = drops;
    try_refused_again();
    watch_drops();
  });
}

void Daemon::sweep() {
  sweep_timer_.expires_after(kSweepEvery);
  sweep_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    engine_->sweep_affinity(kSweepEvery);
    change_diversion(engine_->let_go());
    sweep();
  });
}

void Daemon::open_api() {
  if (config_.control_socket == "none") return;
  const std::string instance = config_.instance.empty() ? node::instance_name() : config_.instance;
  const std::string socket =
      config_.control_socket == "auto" ? control::default_socket(instance).string() : config_.control_socket;
  auto server = control::Server::open(io_, tables_, tracing_, {.socket = socket});
  if (server) {
    server_ = std::move(*server);
  } else {
    spdlog::warn("no API, `limpet show` and `limpet trace` will find nobody: {}", server.error().message);
  }
}

void Daemon::answer_health_checks() {
  health_ = std::make_unique<control::HealthChecks>(
      io_, [this] { return control::Health{.healthy = !diverter_.in_doubt(), .updated = adapted_}; });
  health_->update(engine_->health_checked(), config_.node, *engine_->node());
  if (!config_.healthz) return;
  if (const Status opened = health_->open_healthz(*config_.healthz); !opened) {
    spdlog::warn("/healthz and /livez are not answered: {}", opened.error().message);
  }
}

nlohmann::ordered_json Daemon::queue_stats() const {
  nlohmann::ordered_json queues = nlohmann::ordered_json::array();
  const auto kernel = queue::kernel_queue_stats();
  for (const auto& worker : workers_) {
    const queue::WorkerStats& ours = worker->stats();
    nlohmann::ordered_json entry{{"queue", worker->queue()},
                                 {"packets", ours.packets.load()},
                                 {"batches", ours.batches.load()},
                                 {"refused_verdicts", ours.refused_verdicts.load()},
                                 {"send_errors", ours.send_errors.load()},
                                 {"invalid_messages", ours.invalid_messages.load()}};
    for (const queue::KernelQueueStats& theirs : kernel) {
      if (theirs.number != worker->queue()) continue;
      entry["kernel_waiting"] = theirs.waiting;
      entry["kernel_dropped_full"] = theirs.dropped_full;
      entry["kernel_dropped_overrun"] = theirs.dropped_overrun;
    }
    queues.push_back(std::move(entry));
  }
  return queues;
}

nlohmann::ordered_json Daemon::diversion_stats() const {
  return {{"drift_repairs", drift_repairs_}};
}

void Daemon::log_stats() const {
  spdlog::info("stats {}", tables_.stats().dump());
}

}  // namespace limpet::cli
