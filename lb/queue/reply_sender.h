// reply_sender.h: sends what limpet answers itself: port unreachable, RST, echo reply (net/reply.h).
//
//   worker ── Verdict::reply ──▶ rate limit ──▶ net::build_reply ──▶ raw socket (IP_HDRINCL) ──▶ raw OUTPUT, routing, …
//
// The answer's source is the address that the client asked, a VIP, which the node need not have: hence a raw socket for each
// family. SO_MARK on them lets the rules tell limpet's own answers from the node's (no tracking, not to the queues).
//
//   to          the request's source; a link-local one at the interface that the request came in by
//   too long    an answer beyond the route's MTU is not sent (EMSGSIZE): an echo reply can be
//   no socket   needs CAP_NET_RAW and CAP_NET_ADMIN. Without: a warning, and every answer counts as failed
//
// One for all workers; any thread. Never waits, allocates nothing once built.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/net/reply.h"
#include "lb/datapath/pipeline.h"
#include "lb/queue/rate_limit.h"

namespace limpet::queue {

struct ReplyOptions {
  std::uint32_t mark = 0;           // SO_MARK
  std::uint32_t per_second = 1000;  // answers of all kinds together; 0: none
  std::uint32_t burst = 200;
};

/// What became of the answers.
struct ReplyCounts {
  std::uint64_t sent = 0;
  std::uint64_t suppressed = 0;  // beyond the rate
  std::uint64_t failed = 0;      // no socket, no route, or longer than the route takes
};

class ReplySender {
 public:
  explicit ReplySender(const ReplyOptions& options);
  ReplySender(const ReplySender&) = delete;
  ReplySender& operator=(const ReplySender&) = delete;
  ~ReplySender();

  /// Answer a packet that was dropped, if the rate allows it and it may be answered. Its bytes may change.
  void answer(net::ReplyKind kind, const datapath::Packet& request, flow::Instant now) noexcept;

  ReplyCounts counts() const noexcept;
  /// What clients will miss, and why, in words.
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

 private:
  int open(int family);
  /// `interface`: of a link-local destination.
  bool send(std::span<const std::byte> answer, std::uint32_t interface) const noexcept;

  std::uint32_t mark_;
  RateLimit limit_;
  std::vector<std::string> warnings_;
  int v4_;
  int v6_;
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> suppressed_{0};
  std::atomic<std::uint64_t> failed_{0};
};

}  // namespace limpet::queue
