#include "lb/lab/event_file.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>

namespace limpet::lab {
namespace {

constexpr double kMostSeconds = 1e11;  // the year 5138, and microseconds still fit

enum Key : std::size_t { t, from, to, protocol, in_interface, ttl, kKeys };
constexpr std::array<std::string_view, kKeys> kNames{"t", "from", "to", "protocol", "in_interface", "ttl"};

std::string in_quotes(std::string_view text) {
  return "'" + std::string(text) + "'";
}

/// Takes the values of one object as the parser meets them: no tree is built.
class Reader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Reader(Event& event) : event_(event) {}

  /// Empty: all is well.
  std::string error() const {
    if (!error_.empty()) return error_;
    for (const Key key : {Key::t, Key::from, Key::to, Key::protocol}) {
      if (!given_[key]) return in_quotes(kNames[key]) + " is missing; every line has t, from, to and protocol";
    }
    if (event_.tuple.source.address.family() != event_.tuple.destination.address.family()) {
      return "'from' and 'to' are of different families; write two IPv4 or two IPv6 addresses";
    }
    return {};
  }

  bool start_object(std::size_t) override {
    if (++depth_ == 1) return true;
    return fail("an object stands where a value should; write one flat object a line");
  }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return fail("an array stands here; write one flat object a line"); }
  bool end_array() override { return true; }
  bool key(string_t& name) override {
    for (std::size_t i = 0; i < kKeys; ++i) {
      if (name != kNames[i]) continue;
      if (given_[i]) return fail(in_quotes(name) + " is there twice; leave one out");
      given_[i] = true;
      key_ = static_cast<Key>(i);
      return true;
    }
    return fail(in_quotes(name) + " is not known; known are t, from, to, protocol, in_interface and ttl");
  }
  bool null() override { return wrong("null"); }
  bool boolean(bool value) override { return wrong(value ? "true" : "false"); }
  bool binary(binary_t&) override { return wrong("binary"); }
  bool number_integer(std::int64_t value) override { return wrong(std::to_string(value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (depth_ == 0 || (key_ != Key::t && key_ != Key::ttl)) return wrong(std::to_string(value));
    if (key_ == Key::t) return time(static_cast<double>(value), std::to_string(value));
    if (value > std::numeric_limits<std::uint8_t>::max()) return wrong(std::to_string(value));
    event_.ttl = static_cast<std::uint8_t>(value);
    return true;
  }
  bool number_float(double value, const string_t& text) override {
    return depth_ != 0 && key_ == Key::t ? time(value, text) : wrong(text);
  }
  bool string(string_t& value) override {
    if (depth_ == 0) return wrong(value);
    switch (key_) {
      case Key::from:
        return endpoint(value, event_.tuple.source);
      case Key::to:
        return endpoint(value, event_.tuple.destination) && (event_.tuple.destination.port != 0 || wrong(value));
      case Key::protocol:
        return transport(value);
      case Key::in_interface:
        event_.in_interface = value;
        return true;
      default:
        return wrong(value);
    }
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail("is no JSON from column " + std::to_string(position) + " on; write one object a line");
  }

 private:
  bool fail(std::string what) {
    error_ = std::move(what);
    return false;
  }
  bool wrong(std::string_view value) {
    static constexpr std::array<std::string_view, kKeys> kWanted{"a number of seconds from 0 on, as in 0.25",
                                                                 "IP:PORT, as in 203.0.113.7:40000 or [fd00::7]:40000",
                                                                 "IP:PORT, as in 10.31.240.99:80 or [fd00::1]:80",
                                                                 "tcp, udp, sctp or udplite",
                                                                 "a name, as in \"eth0\"",
                                                                 "a number from 0 to 255"};
    if (depth_ == 0) return fail(in_quotes(value) + " is no event; write one object a line");
    return fail(in_quotes(kNames[key_]) + ": " + in_quotes(value) + " is not " + std::string(kWanted[key_]));
  }
  bool time(double seconds, std::string_view text) {
    if (!(seconds >= 0 && seconds <= kMostSeconds)) return wrong(text);
    event_.time = std::chrono::microseconds(std::llround(seconds * 1e6));
    return true;
  }
  bool endpoint(const string_t& text, net::AddressPort& into) {
    const auto parsed = net::AddressPort::parse(text);
    if (!parsed) return wrong(text);
    into = *parsed;
    return true;
  }
  bool transport(const string_t& text) {
    const auto parsed = net::parse_protocol(text);
    if (!parsed || *parsed == net::Protocol::icmp || *parsed == net::Protocol::icmp6) return wrong(text);
    event_.tuple.protocol = *parsed;
    return true;
  }

  Event& event_;
  std::string error_;
  std::array<bool, kKeys> given_{};
  Key key_ = Key::t;
  int depth_ = 0;
};

}  // namespace

std::string parse_event(const std::string& line, Event& event) {
  event.in_interface.clear();
  event.ttl = Event::kUsualTtl;
  Reader reader(event);
  nlohmann::json::sax_parse(line, &reader);
  return reader.error();
}

EventFile::EventFile(const std::string& path) : path_(path), file_(path, std::ios::binary) {
  file_.seekg(0, std::ios::end);
  const auto end = file_.tellg();
  size_ = end > 0 ? static_cast<std::uint64_t>(end) : 0;
  file_.clear();
  file_.seekg(0);
}

store::Result<bool> EventFile::next(Event& event) {
  do {
    if (!std::getline(file_, line_)) {
      if (!file_.bad()) return false;
      return store::Error{store::ErrorKind::runtime, path_ + ":" + std::to_string(number_ + 1) + ": cannot be read"};
    }
    ++number_;
    read_ += line_.size() + 1;
    if (line_.ends_with('\r')) line_.pop_back();
  } while (line_.find_first_not_of(" \t") == std::string::npos);
  event.number = number_;
  std::string wrong = parse_event(line_, event);
  if (wrong.empty() && event.time < last_) {
    wrong = "'t' is less than in the line before; sort the lines by t";
  }
  if (!wrong.empty()) return store::Error{store::ErrorKind::configuration, place(event) + ": " + wrong};
  last_ = event.time;
  return true;
}

std::string EventFile::place(const Event& event) const {
  return path_ + ":" + std::to_string(event.number);
}

double EventFile::progress() const {
  return size_ == 0 ? 1 : std::min(1.0, static_cast<double>(read_) / static_cast<double>(size_));
}

}  // namespace limpet::lab
