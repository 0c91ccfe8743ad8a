#include "lb/rules/ip_sets.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <utility>

#include "lb/rules/protocol_names.h"
#include "lb/rules/rule_options.h"
#include "lb/rules/rule_words.h"

namespace limpet::rules {
namespace {

/// The parts of a type: "hash:ip,port". nullopt: one that limpet cannot look up.
std::optional<std::vector<IpSet::Part>> parse_type(std::string_view type) {
  const std::size_t colon = type.find(':');
  const std::string_view method = type.substr(0, colon);
  if (colon == std::string_view::npos || (method != "hash" && method != "bitmap")) return std::nullopt;
  std::vector<IpSet::Part> parts;
  for (std::string_view rest = type.substr(colon + 1);; rest.remove_prefix(rest.find(',') + 1)) {
    const std::string_view part = rest.substr(0, rest.find(','));
    if (part != "ip" && part != "net" && part != "port") return std::nullopt;
    if (parts.size() == IpSet::kMostParts) return std::nullopt;
    parts.push_back(part == "port" ? IpSet::Part::port : IpSet::Part::address);
    if (rest.find(',') == std::string_view::npos) return parts;
  }
}

}  // namespace

std::size_t IpSet::Hash::operator()(const Key& key) const noexcept {
  std::uint64_t hash = 0;
  for (const std::uint64_t word : key) hash = (std::rotl(hash, 29) ^ word) * 0x9e3779b97f4a7c15;
  return hash ^ hash >> 32;
}

void IpSet::put(Key& key, std::size_t part, const net::Address& address, unsigned length) noexcept {
  const auto words = address.masked(length).words();
  key[2 * part] = words[0];
  key[2 * part + 1] = words[1];
}

void IpSet::put(Key& key, std::size_t part, std::uint8_t protocol, std::uint16_t port) noexcept {
  key[2 * part] = std::uint64_t{protocol} << 16 | port;
}

bool IpSet::contains(const net::Tuple& packet, const std::vector<SetMatch::Side>& sides) const noexcept {
  if (packet.source.address.family() != family_ || sides.size() < parts_.size()) return false;
  for (const Layer& layer : layers_) {
    Key key{};
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const net::AddressPort& end = sides[i] == SetMatch::Side::source ? packet.source : packet.destination;
      if (parts_[i] == Part::address) put(key, i, end.address, layer.lengths[i]);
      if (parts_[i] == Part::port) put(key, i, static_cast<std::uint8_t>(packet.protocol), end.port);
    }
    if (const auto found = layer.elements.find(key); found != layer.elements.end()) return found->second;
  }
  return false;
}

bool IpSet::parse_part(std::size_t part, std::string_view text, Element& element) const {
  if (parts_[part] == Part::address) {
    const auto prefix = net::Prefix::parse(text);
    if (!prefix || prefix->address().family() != family_) return false;
    element.lengths[part] = prefix->length();
    put(element.key, part, prefix->address(), prefix->length());
    return true;
  }
  const std::size_t colon = text.find(':');
  const auto protocol = colon == std::string_view::npos ? std::optional<std::uint8_t>(6)  // as ipset: TCP
                                                        : protocol_number(text.substr(0, colon));
  const auto port = parse_number(colon == std::string_view::npos ? text : text.substr(colon + 1));
  if (!protocol || !port || *port > 65535) return false;
  put(element.key, part, *protocol, static_cast<std::uint16_t>(*port));
  return true;
}

bool IpSet::parse(std::string_view text, Element& element) const {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const bool last = i + 1 == parts_.size();
    const std::size_t comma = text.find(',');
    if (last != (comma == std::string_view::npos)) return false;
    if (!parse_part(i, text.substr(0, comma), element)) return false;
    if (!last) text.remove_prefix(comma + 1);
  }
  return true;
}

bool IpSet::add(std::string_view text, bool nomatch) {
  Element element;
  if (!parse(text, element)) return false;
  const auto layer = std::find_if(layers_.begin(), layers_.end(),
                                  [&](const Layer& other) { return other.lengths <= element.lengths; });
  const bool known = layer != layers_.end() && layer->lengths == element.lengths;
  const auto own = known ? layer : layers_.insert(layer, Layer{element.lengths, {}});
  own->elements.insert_or_assign(element.key, !nomatch);
  return true;
}

namespace {

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  IpSets read(std::string_view text) {
    std::size_t from = 0;
    while (from < text.size()) {
      const std::size_t end = std::min(text.find('\n', from), text.size());
      ++number_;
      read_line(text.substr(from, end - from));
      from = end + 1;
    }
    return std::move(sets_);
  }

 private:
  void fault(std::string message) { sets_.errors.push_back({file_, number_, std::move(message)}); }

  void read_line(std::string_view line) {
    const auto words = split_words(line);
    if (!words) return fault("a quotation mark is not closed");
    if (words->empty() || words->front().starts_with('#')) return;
    if (words->front() == "create" && words->size() >= 3) return create(*words);
    if (words->front() == "add" && words->size() >= 3) return add(*words);
    fault("'" + words->front() + "': the output of ipset save consists of create NAME TYPE … and add NAME ELEMENT …");
  }

  void create(const std::vector<std::string>& words) {
    const auto parts = parse_type(words[2]);
    if (!parts) return fault("'" + words[2] + "' is a type of set that limpet cannot look up (ip, net and port parts)");
    net::Family family = net::Family::v4;
    for (std::size_t i = 3; i < words.size(); ++i) {
      if (words[i] == "family") {
        family = i + 1 < words.size() && words[i + 1] == "inet6" ? net::Family::v6 : net::Family::v4;
        ++i;
      } else if (!skip_option(words, i)) {
        return;
      }
    }
    if (!sets_.sets.emplace(words[1], IpSet(family, *parts)).second) fault("set '" + words[1] + "' was created before");
  }

  /// Options of no consequence here. False: this one has some, and was reported.
  bool skip_option(const std::vector<std::string>& words, std::size_t& i) {
    constexpr std::array<std::string_view, 10> kWithValue{"hashsize", "maxelem", "bucketsize", "initval", "range",
                                                          "packets",  "bytes",   "comment",    "skbprio", "skbqueue"};
    constexpr std::array<std::string_view, 4> kAlone{"counters", "comment", "skbinfo", "forceadd"};
    const bool creates = words[0] == "create";
    if (creates && std::find(kAlone.begin(), kAlone.end(), words[i]) != kAlone.end()) return true;
    const bool has_value = i + 1 < words.size();
    if (has_value && (words[i] == "timeout" && words[i + 1] == "0")) return ++i, true;
    if (has_value && std::find(kWithValue.begin(), kWithValue.end(), words[i]) != kWithValue.end()) return ++i, true;
    fault("option '" + words[i] + "' cannot be honoured; leave it out");
    return false;
  }

  void add(const std::vector<std::string>& words) {
    const auto set = sets_.sets.find(words[1]);
    if (set == sets_.sets.end()) return fault("set '" + words[1] + "' was not created above");
    bool nomatch = false;
    for (std::size_t i = 3; i < words.size(); ++i) {
      if (words[i] == "nomatch") {
        nomatch = true;
      } else if (!skip_option(words, i)) {
        return;
      }
    }
    if (!set->second.add(words[2], nomatch)) fault("'" + words[2] + "' is no element of this set's type");
  }

  const std::string& file_;
  std::size_t number_ = 0;
  IpSets sets_;
};

}  // namespace

IpSets parse_ip_sets(std::string_view text, const std::string& file) {
  return Reader(file).read(text);
}

}  // namespace limpet::rules
