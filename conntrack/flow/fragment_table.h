// fragment_table.h: what became of the first fragment of a datagram, for those that follow it.
//
// Only for nodes whose kernel does not put datagrams together before the hooks. The first fragment has ports and is
// translated as a packet is; its fate (dropped, or new addresses and mark) is remembered under the datagram's name as it
// stood at that hook, and each later fragment meets the same. A fragment that overtakes its first finds nothing: the
// caller lets none of a service's through, so no datagram is ever half translated.
//
//   shards    by the hash of the name (SipHash-1-3 under a secret key: senders choose the identification)
//   a shard   kWays entries; a new datagram takes a free or expired one, else the oldest, which is counted
//   lifetime  `timeout` from the first fragment (30 s, the kernel's net.ipv4.ipfrag_time; RFC 791 asks for 15 s and more)
//
// A name may stand for two datagrams at once: identifications come round (RFC 4963), and a masqueraded one whose
// destination did not change has the same name at both ends of the node. For the second the name includes a `stage` of
// the caller's choice. Against the first there is no remedy, nor in the kernel: the newest first fragment counts.
//
// Cost: O(kWays). No allocation after start. Threads: any; a shard has a spin lock, which is a leaf.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/net/fragment.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/spinlock.h"

namespace limpet::flow {

/// What became of a first fragment.
struct FragmentFate {
  bool accept = false;  // false: dropped, and so are the others
  net::Address source;  // as they left
  net::Address destination;
  bool rewritten = false;
  std::uint32_t mark = 0;  // the bits that were set in its mark
};

struct FragmentTableOptions {
  std::uint32_t capacity = 4096;  // datagrams; rounded up to a multiple of kWays
  store::HashKey key;             // secret, drawn at random at start
  Seconds timeout{30};
};

class FragmentTable {
 public:
  static constexpr std::size_t kWays = 8;

  explicit FragmentTable(const FragmentTableOptions& options);
  FragmentTable(const FragmentTable&) = delete;
  FragmentTable& operator=(const FragmentTable&) = delete;

  /// Replaces what is known of a datagram of the same name. Returns false if a live datagram had to be forgotten for it.
  bool remember(const net::DatagramId& datagram, const FragmentFate& fate, Instant now,
                std::uint8_t stage = 0) noexcept;
  /// nullopt: its first fragment was not seen, or too long ago.
  std::optional<FragmentFate> find(const net::DatagramId& datagram, Instant now, std::uint8_t stage = 0) const noexcept;

  /// Bytes that a table of this capacity takes.
  static std::uint64_t memory(std::uint32_t capacity) noexcept;
  /// Datagrams that it holds at most.
  std::size_t capacity() const noexcept { return shards_.size() * kWays; }

 private:
  struct Entry {
    net::DatagramId datagram;
    FragmentFate fate;
    Instant deadline{};  // dead when in the past
    std::uint8_t stage = 0;
    bool used = false;
    bool is_live(Instant now) const noexcept { return used && now <= deadline; }
    bool is(const net::DatagramId& name, std::uint8_t at) const noexcept { return stage == at && datagram == name; }
  };
  struct alignas(64) Shard {
    mutable store::SpinLock lock;
    std::array<Entry, kWays> entries;
  };

  std::size_t shard_of(const net::DatagramId& datagram, std::uint8_t stage) const noexcept;

  store::HashKey key_;
  Seconds timeout_;
  std::vector<Shard> shards_;
};

}  // namespace limpet::flow
