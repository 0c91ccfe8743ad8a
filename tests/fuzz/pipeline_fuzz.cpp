// pipeline_fuzz.cpp: packets of any shape through the Pipeline, in any order, so that every state of its tables is reached.
//
//   input   [options] [step] [step] …          what is missing at the end counts as 0
//   step    kind | hook << 3 | marked << 5 | twice << 6 | time passes << 7 ; how the packet arrives ; what the kind needs
//
//     0 packet     between two of the cast       who, what, flags, numbers
//     1 next       of an earlier packet's connection, either way: what follows it, or nearly
//     2 again      an earlier packet as it left, with its mark: the next hook, or the same one
//     3 error      ICMP, about an earlier packet
//     4 fragment   of an earlier packet
//     5 damaged    an earlier packet with one byte changed, its checksums repaired or not
//     6 raw        bytes
//     7 the node   endpoints stop serving, addresses leave, records are swept
//
// Seeds in this language are written by pipeline_corpus.py.
//
// Every packet that leaves is remembered, eight at a time. What must hold is in pipeline_checks.h, and here: a packet
// that crosses a hook twice is not changed by the second crossing; answers have right checksums; in the end every flow
// expires, and every one that was opened was closed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "conntrack/net/packet.h"
#include "conntrack/net/reply.h"
#include "lb/datapath/pipeline.h"

// The paths through what makes and judges packets are nothing to look for.
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif
#include "tests/fuzz/pipeline_checks.h"
#include "tests/fuzz/pipeline_packets.h"
#include "tests/fuzz/pipeline_world.h"
#include "tests/fuzz/require.h"
#ifdef __clang__
#pragma clang attribute pop
#endif

namespace {

using namespace limpet;
using namespace limpet::fuzz;
using datapath::Hook;

constexpr unsigned kMostSteps = 16;

class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  unsigned u8() {
    if (rest_.empty()) return 0;
    const auto value = std::to_integer<unsigned>(rest_[0]);
    rest_ = rest_.subspan(1);
    return value;
  }
  std::span<const std::byte> bytes(std::size_t n) {
    const auto taken = rest_.first(std::min(n, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::byte> rest_;
};

/// A packet as it left a hook.
struct Left {
  Bytes bytes;
  std::uint32_t mark = 0;
};

/// How a packet arrives.
struct Arrival {
  Hook hook = Hook::prerouting;
  std::uint32_t mark = 0;
  bool twice = false;
  unsigned flags = 0;  // 1 checksum pending, 2 segmented later, 4 truncated, 8 made by the node, 16 another way out
};

class Execution {
 public:
  Execution(World& world, Input& input) : world_(world), input_(input) {}

  void run() {
    world_.begin(input_.u8());
    for (unsigned steps = 0; steps < kMostSteps && !input_.empty(); ++steps) step();
    world_.end();
  }

 private:
  void step() {
    const unsigned first = input_.u8();
    constexpr std::array hooks{Hook::prerouting, Hook::postrouting, Hook::output, Hook::input};
    Arrival arrival{.hook = hooks[first >> 3 & 3],
                    .mark = 0x40U | (first & 0x20 ? kMark : 0),
                    .twice = (first & 0x40) != 0,
                    .flags = (first & 7) == 7 ? 0 : input_.u8()};
    if (first & 0x80) pass_time();
    if ((first & 7) == 7) return change_node();
    if (const std::optional<Bytes> packet = make(first & 7, arrival)) cross(*packet, arrival);
  }

  void pass_time() {
    constexpr std::array<flow::Milliseconds, 8> kSteps{flow::Milliseconds(1), flow::Seconds(1),     flow::Seconds(4),
                                                       flow::Seconds(31),     flow::Seconds(61),    flow::Seconds(121),
                                                       flow::Seconds(3600),   flow::Seconds(432001)};
    world_.now += kSteps[input_.u8() % kSteps.size()];
  }

  void change_node() {
    const unsigned what = input_.u8();
    if (what % 8 < 3) world_.toggle(1 + what % 8);
    if (what % 8 == 3) world_.has_addresses = !world_.has_addresses;
    if (what % 8 > 3) world_.sweep(what / 8);
  }

  std::optional<Bytes> make(unsigned kind, Arrival& arrival) {
    if (kind == 0) return new_packet();
    if (kind == 6) {
      const auto raw = input_.bytes(input_.u8());
      return Bytes(raw.begin(), raw.end());
    }
    const unsigned which = input_.u8();
    const Left& earlier = left_[(next_ - 1 - which % left_.size()) % left_.size()];
    if (earlier.bytes.empty()) return std::nullopt;
    const auto choices = static_cast<unsigned>(which / left_.size());
    if (kind == 2) return arrival.mark = earlier.mark, earlier.bytes;
    if (kind == 3) return error(earlier.bytes, choices);
    if (kind == 5) return damaged(earlier.bytes, choices);
    Bytes copy = earlier.bytes;
    net::PacketView view;
    if (net::parse(copy, view) != net::ParseError::none) return std::nullopt;
    if (kind == 1) return next(view, choices);
    const unsigned part = input_.u8();
    return fragment_of(stated(copy), part & 0xf, 1 + (part >> 4), (choices & 1) != 0, choices >> 1);
  }

  /// Tags that SCTP packets bear: each side's own, and one that is nobody's.
  static void put_sctp(Content& content, unsigned flags) {
    constexpr std::array<std::uint32_t, 4> kTags{0, 0xc11e47, 0x5e74e5, 0x07e4};
    content.chunk = flags & 0xf;
    content.tag = kTags[flags >> 4 & 3];
    content.initiate = kTags[flags >> 6 & 3];
  }

  Bytes new_packet() {
    constexpr std::array kProtocols{kTcp, kUdp, kUdpLite, kSctp};
    const unsigned who = input_.u8(), what = input_.u8(), flags = input_.u8(), numbers = input_.u8();
    const auto& all = cast()[what >> 2 & 1];
    Content content{.protocol = kProtocols[what & 3],
                    .long_header = (what & 8) != 0,
                    .no_checksum = (what & 16) != 0,
                    .tcp_flags = flags,
                    .sequence = (numbers & 0xf) * 0x11111111,
                    .acknowledgement = (numbers >> 4) * 0x11111111,
                    .payload = what >> 5};
    if (content.protocol == kSctp) put_sctp(content, flags);
    return build({all[who & 0xf], all[who >> 4]}, content);
  }

  /// What its connection might send after `earlier`: the other side if `choices` is odd; off by some, where it says so.
  Bytes next(const net::PacketView& earlier, unsigned choices) {
    const unsigned flags = input_.u8();
    const std::uint32_t end =
        earlier.tcp_sequence + earlier.tcp_payload + earlier.tcp_flags.syn() + earlier.tcp_flags.fin();
    const Ends ends{earlier.tuple.source, earlier.tuple.destination};
    const bool back = (choices & 1) != 0;
    Content content{.protocol = static_cast<unsigned>(earlier.tuple.protocol),
                    .tcp_flags = flags & 0x3f,
                    .sequence = back ? earlier.tcp_acknowledgement : end,
                    .acknowledgement = back ? end : earlier.tcp_acknowledgement,
                    .payload = flags >> 6};
    if (back && !earlier.tcp_flags.ack()) content.sequence = 0x5e000000;  // a first sequence number of its own
    content.sequence += (choices >> 1 & 3) * 0x01000001;
    content.acknowledgement += (choices >> 3 & 3) * 0x01000001;
    if (content.protocol == kSctp) put_sctp(content, flags);
    return build(back ? ends.reversed() : ends, content);
  }

  Bytes error(const Bytes& about, unsigned choices) {
    constexpr std::array<unsigned, 8> kTypes4{3, 3, 4, 11, 12, 5, 8, 0}, kTypes6{1, 2, 3, 4, 1, 137, 128, 129};
    const unsigned from = input_.u8(), length = input_.u8();
    const bool v4 = wire::get8(about, 0) >> 4 != 6;
    if (about.size() < (v4 ? 20U : 40U)) return about;
    const auto& all = cast()[v4 ? 0 : 1];
    const net::Address sender =
        net::Address::from_wire(v4 ? net::Family::v4 : net::Family::v6, about.data() + (v4 ? 12 : 8));
    const net::Address to = choices & 8 ? all[from >> 4].address : sender;
    return error_about(about, all[from & 0xf].address, to, (v4 ? kTypes4 : kTypes6)[choices & 7], from >> 4, length);
  }

  Bytes damaged(const Bytes& earlier, unsigned choices) {
    Bytes packet = earlier;
    const unsigned at = input_.u8(), value = input_.u8();
    packet[at % packet.size()] ^= static_cast<std::byte>(value);
    net::PacketView view;
    if ((choices & 1) != 0 && net::parse(packet, view) == net::ParseError::none) {
      repair_header(view.bytes);
      repair_transport(view.bytes);
    }
    return packet;
  }

  struct Crossed {
    datapath::Verdict verdict;
    Left left;
  };
  Crossed cross_once(const Bytes& bytes, const Arrival& arrival) {
    // On the heap and not a byte more, so that AddressSanitizer sees a read beyond it.
    const auto exact = std::make_unique<std::byte[]>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), exact.get());
    const bool out = arrival.hook == Hook::postrouting, local = arrival.hook == Hook::output || (arrival.flags & 8);
    datapath::Packet packet{.bytes = {exact.get(), bytes.size()},
                            .hook = arrival.hook,
                            .mark = arrival.mark,
                            .in_interface = local ? 0U : 1U,
                            .out_interface = !out                 ? 0U
                                             : arrival.flags & 16 ? 1U
                                                                  : 2U,
                            .checksum_pending = (arrival.flags & 1) != 0,
                            .segmented_later = (arrival.flags & 2) != 0,
                            .truncated = (arrival.flags & 4) != 0};
    const unsigned told = world_.witness.told;
    const std::uint64_t hash = world_.pipeline->prefetch(packet.bytes);
    if ((arrival.flags & 32) != 0) packet.flow_hash = hash;
    const datapath::Verdict verdict = world_.pipeline->process(packet, world_.node(), world_.now, world_.worker);
    check_crossing(packet, bytes, verdict, kMark);
    check_witness(verdict, told);
    require(world_.flows() <= kFlows, "the flow table keeps to its capacity");
    Crossed crossed{verdict,
                    {{packet.bytes.begin(), packet.bytes.end()}, verdict.set_mark ? verdict.mark : arrival.mark}};
    check_answer(verdict.reply, packet, bytes);
    return crossed;
  }

  void check_witness(const datapath::Verdict& verdict, unsigned told) const {
    const Witness& witness = world_.witness;
    if (world_.worker.observer == nullptr) return require(witness.told == told, "nobody is told");
    require(witness.told == told + 1, "the observer is told once");
    require(witness.accepted == verdict.accept && witness.rewritten == verdict.rewritten,
            "the observer knows the verdict");
  }

  static void check_answer(net::ReplyKind kind, const datapath::Packet& request, const Bytes& original) {
    if (kind == net::ReplyKind::none) return;
    std::array<std::byte, net::kMaxReply> room;
    const net::RequestChecksum checksum = request.checksum();
    const auto answer = net::build_reply(kind, request.bytes, room, checksum);
    if (answer.empty()) return;
    require(answer.size() == stated(answer).size(), "an answer is as long as it says");
    require(test::header_checksum_ok(answer), "an answer's header checksum is right");
    require(test::transport_checksum_ok(answer), "an answer's checksum is right");
    if (kind != net::ReplyKind::echo_reply || checksum == net::RequestChecksum::pending) return;
    require(test::transport_checksum_ok(stated(original)), "a damaged request is not answered");
  }

  void cross(const Bytes& bytes, const Arrival& arrival) {
    Crossed crossed = cross_once(bytes, arrival);
    if (arrival.twice && crossed.verdict.rewritten) {
      Arrival second = arrival;
      second.mark = crossed.left.mark;
      second.flags &= ~1U;  // what is written back has a complete checksum
      const Crossed again = cross_once(crossed.left.bytes, second);
      require(again.verdict.accept && again.left.bytes == crossed.left.bytes, "a second crossing changes nothing");
    }
    left_[next_++ % left_.size()] = std::move(crossed.left);
  }

  World& world_;
  Input& input_;
  std::array<Left, 8> left_;
  std::size_t next_ = 8;
};

}  // namespace

/// Many small blocks come and go: who allocated one is of no interest, and few need be kept to see their use after free.
extern "C" const char* __asan_default_options();  // NOLINT: the sanitizer's name
extern "C" const char* __asan_default_options() {
  return "malloc_context_size=0:quarantine_size_mb=1";
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  Input input(std::as_bytes(std::span(data, size)));
  Execution(world, input).run();
  return 0;
}
