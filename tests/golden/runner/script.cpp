#include "tests/golden/runner/script.h"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <vector>

#include "tests/golden/runner/describe.h"

namespace limpet::golden {

namespace {

flow::Seconds duration(const std::string& word) {
  const std::string number = word.substr(0, word.find_last_of("0123456789") + 1);
  const std::string unit = word.substr(number.size());
  const flow::Seconds value(to_number(number));
  if (unit == "s") return value;
  if (unit == "m") return value * 60;
  if (unit == "h") return value * 3600;
  throw SyntaxError("not a time: \"" + word + "\"");
}

service::PortRange port_range(const std::string& word) {
  const std::size_t dash = word.find('-');
  if (dash == std::string::npos) throw SyntaxError("ports FIRST-LAST");
  return {static_cast<std::uint16_t>(to_number(word.substr(0, dash))),
          static_cast<std::uint16_t>(to_number(word.substr(dash + 1)))};
}

net::Address to_address(const std::string& text) {
  const auto address = net::Address::parse(text);
  if (!address) throw SyntaxError("not an address: \"" + text + "\"");
  return *address;
}

net::AddressPort to_end(const Cast& cast, const std::string& word) {
  const Cast::End end = cast.end(word);
  return {to_address(end.address), static_cast<std::uint16_t>(end.port)};
}

datapath::Hook to_hook(const std::string& word) {
  for (const auto hook :
       {datapath::Hook::prerouting, datapath::Hook::input, datapath::Hook::output, datapath::Hook::postrouting}) {
    if (to_string(hook) == word) return hook;
  }
  throw SyntaxError("not a hook: \"" + word + "\"");
}

std::string hex(std::uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

std::string what_became_of(const Departure& departed) {
  if (!departed.answer.empty()) return "was answered with " + describe(departed.answer);
  if (!departed.verdict.accept) return "was dropped";
  return (departed.verdict.rewritten ? "left as " : "was accepted unchanged: ") + describe(departed.bytes);
}

std::map<std::string, std::uint64_t> all_counts(const World& world) {
  std::map<std::string, std::uint64_t> counts;
  for (std::size_t i = 0; i < datapath::kCounters; ++i) {
    const std::string name(to_string(static_cast<datapath::Counter>(i)));
    counts[name] = world.count(name);
  }
  return counts;
}

}  // namespace

Script::Script(bool v4) : cast_(v4) {
  config_.tables.flows = 64;
  config_.tables.affinity = 64;
  config_.node.name = "node";
}

void Script::line(const std::string& text) {
  Words words(text);
  if (words.done()) return;
  const std::string word = words.next();
  if (word == "in") {
    in(words);
  } else if (word == "out") {
    out(words);
  } else if (departed_) {
    throw SyntaxError("what becomes of the packet? out …");
  } else if (word == "after") {
    if (!world_) throw SyntaxError("after … before the first packet");
    world_->pass(duration(words.next()));
  } else if (word == "sweep") {
    if (world_) world_->sweep();
  } else if (word == "count") {
    const std::string counter = words.next();
    const std::uint32_t expected = words.number();
    const std::uint64_t count = world_ ? world_->count(counter) : 0;
    if (count != expected) throw Disagreement(counter + " is " + std::to_string(count));
  } else if (word == "addresses") {
    words.expect("none");
    if (world_) world_->lose_addresses();
  } else {
    setting(word, words);
  }
  words.end();
}

void Script::finish() const {
  if (departed_) throw SyntaxError("what becomes of the last packet? out …");
  if (!world_) throw SyntaxError("no packet");
}

// ---- settings ----

void Script::setting(const std::string& word, Words& words) {
  if (world_) throw SyntaxError("settings stand before the first packet: \"" + word + "\"");
  if (word == "service") return service(words);
  if (word == "set") return set(words);
  if (word == "only") return void(words.next());  // heeded by play()
  if (word == "name") {
    const std::string who = words.next(), ipv4 = words.next();
    return cast_.name(who, ipv4, words.next());
  }
  if (word == "pods") {
    config_.node.detect_local.mode = service::LocalDetector::Mode::cluster_cidr;
    while (!words.done()) {
      const auto prefix = net::Prefix::parse(words.next());
      if (!prefix) throw SyntaxError("pods PREFIX …");
      config_.node.pod_cidrs.push_back(*prefix);
    }
    config_.node.detect_local.cidrs = config_.node.pod_cidrs;
    return;
  }
  throw SyntaxError("not understood: \"" + word + "\"");
}

void Script::service(Words& words) {
  service::Service service;
  const std::string at = words.next();
  const std::size_t slash = at.rfind('/');
  const auto protocol = net::parse_protocol(slash == std::string::npos ? "" : at.substr(slash + 1));
  if (!protocol) throw SyntaxError("service ADDRESS:PORT/PROTOCOL");
  const net::AddressPort vip = to_end(cast_, at.substr(0, slash));
  service.name = "golden/" + at;
  service.protocol = *protocol;
  service.cluster_ip = vip.address;
  service.port = vip.port;
  words.expect("->");
  if (!words.skip("nothing")) {
    while (words.peek().find(':') != std::string::npos)
      service.endpoints.push_back({.at = to_end(cast_, words.next()), .node_name = {}});
  }
  while (!words.done()) {
    const std::string word = words.next();
    if (word == "masquerade") {
      service.masquerade = service::MasqueradeMode::always;
    } else if (word == "affinity") {
      service.affinity_timeout = duration(words.next());
    } else if (word == "nodeport") {
      service.node_port = static_cast<std::uint16_t>(words.number());
    } else if (word == "local") {
      service.internal_policy = service.external_policy = service::TrafficPolicy::local;
    } else {
      throw SyntaxError("not understood: \"" + word + "\"");
    }
  }
  config_.services.push_back(std::move(service));
}

void Script::set(Words& words) {
  const std::string what = words.next();
  if (what == "midstream") {
    const std::string policy = words.next();
    if (policy != "pick" && policy != "drop" && policy != "affinity") throw SyntaxError("affinity | pick | drop");
    config_.midstream = policy == "pick"   ? service::Midstream::pick
                        : policy == "drop" ? service::Midstream::drop
                                           : service::Midstream::affinity;
  } else if (what == "reject-with") {
    words.expect("tcp-reset");
    config_.reject_with = service::RejectWith::tcp_reset;
  } else if (what == "flows") {
    config_.tables.flows = words.number();
  } else if (what == "ports") {
    config_.masquerade_ports = {port_range(words.next())};
  } else if (what == "direct") {
    config_.divert_direct = true;
  } else if (what == "echo") {
    words.expect("reply");
    config_.icmp_echo = service::IcmpEcho::reply;
  } else if (what == "localhost-node-ports") {
    config_.node.localhost_node_ports = true;
  } else if (what == "masquerade-all") {
    config_.node.masquerade_all = true;
  } else {
    for (const flow::Timeouts::Field& field : flow::Timeouts::fields()) {
      if (field.name == what) return void(config_.timeouts.*field.member = duration(words.next()));
    }
    throw SyntaxError("not understood: \"" + what + "\"");
  }
}

// ---- packets ----

void Script::in(Words& words) {
  if (departed_) throw SyntaxError("what becomes of the packet before? out …");
  if (!world_) world_ = std::make_unique<World>(config_);
  Arrival arrival{.hook = to_hook(words.next())};
  if (arrival.hook == datapath::Hook::prerouting) arrival.in_interface = interface_number("eth0");
  if (arrival.hook == datapath::Hook::postrouting) arrival.out_interface = interface_number("pods");
  std::optional<std::size_t> kept;
  std::optional<std::uint32_t> mark;
  for (;;) {
    if (words.skip("mark")) {
      mark = words.number();
    } else if (words.skip("from")) {
      arrival.in_interface = interface_number(words.next());
    } else if (words.skip("to")) {
      arrival.out_interface = interface_number(words.next());
    } else if (words.skip("super")) {
      arrival.segmented_later = true;
    } else if (words.skip("truncated")) {
      arrival.truncated = true;
      kept = words.number();
    } else {
      break;
    }
  }
  if (words.skip("it")) {
    if (last_.empty()) throw SyntaxError("\"it\" is the packet that the last `out` let go");
    arrived_ = last_;
    arrived_mark_ = mark.value_or(last_mark_);
  } else {
    const PacketSpec packet = read_packet(words, cast_);
    arrived_ = encode(packet);
    arrived_mark_ = mark.value_or(0);
    arrival.checksum_pending = packet.checksum == Checksum::pending;
  }
  if (kept && *kept < arrived_.size()) arrived_.resize(*kept);
  arrival.mark = arrived_mark_;
  counts_ = all_counts(*world_);
  departed_ = world_->cross(arrival, arrived_);
}

void Script::out(Words& words) {
  if (!departed_) throw SyntaxError("out without in");
  const std::string outcome = words.next();
  last_.clear();
  if (outcome == "accept") {
    expect_packet(words);
  } else if (outcome == "same") {
    expect_same(words);
  } else if (outcome == "drop") {
    expect_drop(words);
  } else if (outcome == "reply") {
    expect_reply(words);
  } else {
    throw SyntaxError("accept | same | drop | reply");
  }
  departed_.reset();
}

void Script::expect_packet(Words& words) {
  const std::uint32_t mark = words.skip("mark") ? words.number() : arrived_mark_;
  const Bytes expected = encode(read_expected(words));
  if (!departed_->verdict.accept || !departed_->verdict.rewritten)
    throw Disagreement("the packet " + what_became_of(*departed_));
  if (departed_->bytes != expected)
    throw Disagreement("other bytes\n" + describe_difference(expected, departed_->bytes));
  expect_mark(mark);
  last_ = expected, last_mark_ = mark;
}

/// "chosen" becomes the endpoint that this packet was sent to, if it is one, and stays it.
PacketSpec Script::read_expected(Words& words) {
  if (!words.contains("chosen:") || cast_.knows("chosen")) return read_packet(words, cast_);
  for (const service::Service& service : config_.services) {
    for (const service::Endpoint& endpoint : service.endpoints) {
      const std::string address = endpoint.at.address.to_string();
      cast_.name("chosen", address, address);
      Words attempt = words;
      const PacketSpec packet = read_packet(attempt, cast_);
      if (encode(packet) != departed_->bytes) continue;
      words = attempt;
      return packet;
    }
  }
  return read_packet(words, cast_);
}

void Script::expect_same(Words& words) {
  const std::uint32_t mark = words.skip("mark") ? words.number() : arrived_mark_;
  if (!departed_->verdict.accept || departed_->verdict.rewritten)
    throw Disagreement("the packet " + what_became_of(*departed_));
  if (departed_->bytes != arrived_)
    throw Disagreement("not said to be rewritten, but changed\n" + describe_difference(arrived_, departed_->bytes));
  expect_mark(mark);
  if (!words.done()) expect_counted(words.next());
  last_ = arrived_, last_mark_ = mark;
}

void Script::expect_drop(Words& words) {
  if (departed_->verdict.accept || !departed_->answer.empty())
    throw Disagreement("the packet " + what_became_of(*departed_));
  expect_counted(words.next());
}

void Script::expect_reply(Words& words) {
  const Bytes expected = encode(read_packet(words, cast_));
  if (departed_->verdict.accept || departed_->answer.empty())
    throw Disagreement("the packet " + what_became_of(*departed_));
  if (departed_->answer != expected)
    throw Disagreement("another answer\n" + describe_difference(expected, departed_->answer));
}

void Script::expect_mark(std::uint32_t mark) const {
  if (departed_->mark != mark) throw Disagreement("the mark is " + hex(departed_->mark) + ", not " + hex(mark));
}

void Script::expect_counted(const std::string& counter) const {
  const std::uint64_t before = counts_.contains(counter) ? counts_.at(counter) : 0;
  if (world_->count(counter) == before + 1) return;
  std::string counted;
  for (const auto& [name, value] : counts_) {
    if (name != "packets" && world_->count(name) != value) counted += " " + name;
  }
  throw Disagreement("not counted as " + counter + " but as" + counted);
}

// ---- files ----

namespace {

std::string play_family(const std::filesystem::path& file, const std::vector<std::string>& lines, bool v4) {
  std::size_t number = 0;
  try {
    Script script(v4);
    for (const std::string& line : lines) ++number, script.line(line);
    script.finish();
  } catch (const std::exception& error) {
    std::ostringstream text;
    text << file.string() << ':' << number << ": " << (v4 ? "IPv4" : "IPv6") << ": " << error.what() << '\n';
    if (number >= 1 && number <= lines.size()) text << "    " << lines[number - 1] << '\n';
    return text.str();
  }
  return {};
}

}  // namespace

std::string play(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> lines;
  bool v4 = true, v6 = true;
  for (std::string line; std::getline(stream, line);) {
    if (line == "only ipv4") v6 = false;
    if (line == "only ipv6") v4 = false;
    lines.push_back(line);
  }
  if (lines.empty()) return file.string() + ": cannot be read, or empty\n";
  std::string wrong;
  if (v4) wrong += play_family(file, lines, true);
  if (v6) wrong += play_family(file, lines, false);
  return wrong;
}

}  // namespace limpet::golden
