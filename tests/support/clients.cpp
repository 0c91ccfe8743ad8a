// clients.cpp: limpet-clients, many HTTP clients in one process, each with a source address of its own.
//
//   limpet-clients --to 10.31.240.99:80 --from 198.18.0.0/22 --count 600 --rounds 2
//
//   198.18.0.1  0  php-apache-dep-58bc5f5b77-8rdlz 198.18.0.1      source, round, first line of the answer's body
//   198.18.0.2  0  ! timed out                                     errors are lines too
//
// Round r + 1 starts when round r is over: every client has come once before any comes again. Within a round at most
// --parallel connections are open, driven by one epoll. Each asks `GET / HTTP/1.0` and reads until the server closes.
// Fields are separated by tabs. Exit code 0 if every client was answered, 1 if not, 2 for a bad command line.
//
// A source may be any address of a prefix that is local to this host as a whole (`ip route add local PREFIX dev lo`):
// IP_FREEBIND allows it, and IP_BIND_ADDRESS_NO_PORT leaves the port to connect(), so that sources are not short of
// ports.
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

struct Options {
  Endpoint server;
  std::vector<std::string> sources;
  unsigned rounds = 1;
  unsigned parallel = 64;
  std::chrono::milliseconds timeout{5000};
};

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Endpoint> make_endpoint(const std::string& address, std::uint16_t port) {
  Endpoint endpoint;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET, address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&endpoint.storage, &v4, endpoint.size = sizeof v4);
  } else if (inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&endpoint.storage, &v6, endpoint.size = sizeof v6);
  } else {
    return std::nullopt;
  }
  return endpoint;
}

/// "10.31.240.99:80" or "[fd00::1]:80".
std::optional<Endpoint> parse_server(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  const auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
  auto host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return port ? make_endpoint(std::string(host), *port) : std::nullopt;
}

/// The first `count` addresses of "198.18.0.0/22" after its first, or the one address that has no length.
/// Only the last 32 bits count up: plenty for either family.
std::vector<std::string> expand(const std::string& prefix, unsigned count) {
  const auto slash = prefix.find('/');
  const std::string first = prefix.substr(0, slash);
  if (slash == std::string::npos) return {first};
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  const int family = first.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(family, first.c_str(), bytes.data()) != 1) return {};
  unsigned char* const last_word = bytes.data() + (family == AF_INET ? 0 : 12);
  std::uint32_t base = 0;
  std::memcpy(&base, last_word, sizeof base);
  std::vector<std::string> addresses;
  for (unsigned i = 1; i <= count; ++i) {
    const std::uint32_t word = htonl(ntohl(base) + i);
    std::memcpy(last_word, &word, sizeof word);
    char text[INET6_ADDRSTRLEN];
    addresses.emplace_back(inet_ntop(family, bytes.data(), text, sizeof text));
  }
  return addresses;
}

/// One connection. The descriptor closes with it.
class Connection {
 public:
  Connection(const std::string& source, const Options& options)
      : source_(source), deadline_(Clock::now() + options.timeout) {
    begin(options.server);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  int descriptor() const { return descriptor_; }
  Clock::time_point deadline() const { return deadline_; }
  bool done() const { return done_; }
  bool failed() const { return !error_.empty(); }

  /// The socket can be written to or read from: do as much as possible without waiting.
  void advance() {
    if (!asked_) ask();
    while (!done_ && asked_) {
      char buffer[4096];
      const ssize_t got = recv(descriptor_, buffer, sizeof buffer, 0);
      if (got > 0) {
        answer_.append(buffer, static_cast<std::size_t>(got));
      } else if (got == 0) {
        done_ = true;
        if (body().empty()) error_ = "closed without an answer";
      } else if (errno == EAGAIN) {
        return;
      } else {
        fail(std::strerror(errno));
      }
    }
  }

  void fail(const char* why) {
    error_ = why;
    done_ = true;
  }

  void print(unsigned round) const {
    const std::string words = failed() ? "! " + error_ : std::string(body());
    std::printf("%s\t%u\t%s\n", source_.c_str(), round, words.c_str());
  }

 private:
  void begin(const Endpoint& server) {
    const auto from = make_endpoint(source_, 0);
    descriptor_ = socket(server.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (descriptor_ < 0) return fail(std::strerror(errno));
    const int on = 1;
    setsockopt(descriptor_, SOL_IP, IP_FREEBIND, &on, sizeof on);
    setsockopt(descriptor_, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (!from || bind(descriptor_, from->get(), from->size) != 0) return fail("cannot bind to this source");
    if (connect(descriptor_, server.get(), server.size) != 0 && errno != EINPROGRESS) fail(std::strerror(errno));
  }

  /// Connected, or refused: the first event tells.
  void ask() {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return fail(std::strerror(error));
    constexpr std::string_view kRequest = "GET / HTTP/1.0\r\nHost: service\r\n\r\n";
    if (send(descriptor_, kRequest.data(), kRequest.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kRequest.size())) {
      asked_ = true;
    } else if (errno != EAGAIN) {
      fail(std::strerror(errno));
    }
  }

  /// The first line after the header, empty if there is none.
  std::string_view body() const {
    const std::string_view answer = answer_;
    const auto blank = answer.find("\r\n\r\n");
    if (blank == std::string_view::npos) return {};
    const auto rest = answer.substr(blank + 4);
    return rest.substr(0, rest.find_first_of("\r\n"));
  }

  std::string source_;
  Clock::time_point deadline_;
  int descriptor_ = -1;
  bool asked_ = false;
  bool done_ = false;
  std::string answer_;
  std::string error_;
};

/// One round: every source once, at most `parallel` at a time.
class Round {
 public:
  Round(const Options& options, unsigned number)
      : options_(options), number_(number), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  Round(const Round&) = delete;
  Round& operator=(const Round&) = delete;
  ~Round() { close(epoll_); }

  /// How many were not answered.
  unsigned run() {
    auto next = options_.sources.begin();
    while (next != options_.sources.end() || !open_.empty()) {
      while (next != options_.sources.end() && open_.size() < options_.parallel) start(*next++);
      wait();
      finish();
    }
    return failures_;
  }

 private:
  void start(const std::string& source) {
    auto& connection = open_.emplace_back(std::make_unique<Connection>(source, options_));
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.ptr = connection.get();
    if (!connection->done() && epoll_ctl(epoll_, EPOLL_CTL_ADD, connection->descriptor(), &event) != 0) {
      connection->fail(std::strerror(errno));
    }
  }

  void wait() {
    constexpr int kTickMs = 50;  // how late a timeout may be noticed
    std::array<epoll_event, 64> events;
    const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), kTickMs);
    for (int i = 0; i < ready; ++i) {
      auto* const connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (!connection->done()) connection->advance();
    }
  }

  void finish() {
    const auto now = Clock::now();
    std::erase_if(open_, [&](const std::unique_ptr<Connection>& connection) {
      if (!connection->done() && now >= connection->deadline()) connection->fail("timed out");
      if (!connection->done()) return false;
      connection->print(number_);
      failures_ += connection->failed() ? 1U : 0U;
      return true;
    });
  }

  const Options& options_;
  unsigned number_;
  int epoll_;
  unsigned failures_ = 0;
  std::deque<std::unique_ptr<Connection>> open_;
};

struct Prefixes {
  std::vector<std::string> from;
  unsigned count = 1;
};

/// One option and its value. False if either means nothing.
bool apply(std::string_view name, const std::string& value, Options& options, Prefixes& prefixes) {
  if (name == "--from") {
    prefixes.from.push_back(value);
    return true;
  }
  if (name == "--to") {
    const auto server = parse_server(value);
    if (server) options.server = *server;
    return server.has_value();
  }
  const auto number = parse_number<unsigned>(value);
  if (!number || *number == 0) return false;
  if (name == "--count") return prefixes.count = *number, true;
  if (name == "--rounds") return options.rounds = *number, true;
  if (name == "--parallel") return options.parallel = *number, true;
  if (name == "--timeout-ms") return options.timeout = std::chrono::milliseconds(*number), true;
  return false;
}

std::optional<Options> parse_command_line(int argc, char** argv) {
  Options options;
  Prefixes prefixes;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc || !apply(argv[i], argv[i + 1], options, prefixes)) return std::nullopt;
  }
  for (const auto& prefix : prefixes.from) {
    const auto addresses = expand(prefix, prefixes.count);
    options.sources.insert(options.sources.end(), addresses.begin(), addresses.end());
  }
  if (options.server.size == 0 || options.sources.empty()) return std::nullopt;
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = parse_command_line(argc, argv);
  if (!options) {
    std::fputs(
        "usage: limpet-clients --to ADDRESS:PORT --from ADDRESS|PREFIX [--from ...] [--count N per prefix]\n"
        "                      [--rounds N] [--parallel N] [--timeout-ms N]\n",
        stderr);
    return 2;
  }
  unsigned failures = 0;
  for (unsigned round = 0; round < options->rounds; ++round) failures += Round(*options, round).run();
  return failures == 0 ? 0 : 1;
}
