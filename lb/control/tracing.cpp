#include "lb/control/tracing.h"

#include <algorithm>
#include <utility>

#include "conntrack/net/ip_header.h"

namespace limpet::control {

using datapath::CrossingReport;
using datapath::Observers;

namespace {

/// No IP packet that a queue can hold is longer.
constexpr std::uint32_t kLongest = 65535 + 40;

bool names(const net::Tuple& tuple, const net::Address& address) noexcept {
  return tuple.source.address == address || tuple.destination.address == address;
}

/// Is it one of the addresses in the IP header?
bool names(std::span<const std::byte> packet, const net::Address& address) noexcept {
  const std::size_t header = address.is_v4() ? net::kIpv4Header : net::kIpv6Header;
  const unsigned version = address.is_v4() ? 4 : 6;
  if (packet.size() < header || std::to_integer<unsigned>(packet[0]) >> 4 != version) return false;
  const auto [source, destination] = net::address_offsets(address.family());
  const std::span<const std::byte> bytes = address.bytes();
  return std::equal(bytes.begin(), bytes.end(), packet.begin() + static_cast<std::ptrdiff_t>(source)) ||
         std::equal(bytes.begin(), bytes.end(), packet.begin() + static_cast<std::ptrdiff_t>(destination));
}

bool is_about(const CrossingReport& crossing, const net::Address& client) noexcept {
  return crossing.client == client || names(crossing.before, client) || names(crossing.after, client) ||
         names(crossing.head, client) || names(crossing.packet.bytes, client);
}

void copy(std::span<const std::byte> from, std::size_t length, Head& head) noexcept {
  head.size = static_cast<std::uint32_t>(std::min(from.size(), head.bytes.size()));
  head.length = static_cast<std::uint32_t>(length);
  std::copy_n(from.begin(), head.size, head.bytes.begin());
}

/// The rest is filled up with zeros: it says nothing about what the packet is.
datapath::PacketFacts facts_of(const Head& head) {
  std::vector<std::byte> bytes(std::clamp(head.length, head.size, std::max(head.size, kLongest)));
  std::copy_n(head.bytes.begin(), head.size, bytes.begin());
  return datapath::facts_of(bytes);
}

}  // namespace

/// One worker's ear.
class Tracing::Tap final : public datapath::Observer {
 public:
  Tap(std::vector<std::shared_ptr<Shared>> traces, unsigned worker) : traces_(std::move(traces)), worker_(worker) {}

  void on(const CrossingReport& crossing) noexcept override {
    for (const std::shared_ptr<Shared>& trace : traces_) {
      if (is_about(crossing, trace->client)) tell(*trace, crossing);
    }
  }

 private:
  /// A number is taken only where its record has room: numbers have no gaps.
  void tell(Shared& trace, const CrossingReport& crossing) const noexcept {
    trace.rings[worker_].push([&](TraceRecord& record) {
      record.sequence = trace.sequence.fetch_add(1, std::memory_order_relaxed);
      record.time =
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch());
      record.connection = {};
      record.connection.tuple = crossing.before;
      record.connection.hook = crossing.hook;
      record.connection.in_interface = crossing.packet.in_interface;
      record.hit = crossing.hit;
      record.decision = crossing.decision;
      record.outcome = crossing.outcome;
      record.verdict = crossing.verdict;
      copy(crossing.head, crossing.packet.bytes.size(), record.before);
      copy(crossing.packet.bytes, crossing.packet.bytes.size(), record.after);
    });
  }

  std::vector<std::shared_ptr<Shared>> traces_;
  unsigned worker_;
};

datapath::PathStep to_step(const TraceRecord& record) {
  datapath::PathStep step;
  step.number = record.sequence + 1;
  step.time = record.time;
  step.hook = record.connection.hook;
  step.before = facts_of(record.before);
  step.after = facts_of(record.after);
  step.hit = record.hit;
  step.decision = record.decision;
  step.outcome = record.outcome;
  step.verdict = record.verdict;
  return step;
}

std::vector<TraceRecord> Tracing::Trace::drain(std::size_t most) {
  std::vector<TraceRecord> records = std::exchange(early_, {});
  TraceRecord record;
  for (Ring& ring : shared_->rings) {
    for (std::size_t i = 0; i < most && ring.pop(record); ++i) records.push_back(record);
  }
  std::sort(records.begin(), records.end(),
            [](const TraceRecord& a, const TraceRecord& b) { return a.sequence < b.sequence; });
  // Whose number is missing is being written by another worker, or waits in its ring: the next call has it.
  auto gap = records.begin();
  while (gap != records.end() && gap->sequence == next_) ++gap, ++next_;
  early_.assign(gap, records.end());
  records.erase(gap, records.end());
  return records;
}

std::uint64_t Tracing::Trace::lost() const noexcept {
  std::uint64_t sum = 0;
  for (const Ring& ring : shared_->rings) sum += ring.lost();
  return sum;
}

std::unique_ptr<Tracing::Trace> Tracing::start(const net::Address& client) {
  if (traces_.size() == kTraces) return nullptr;
  auto shared = std::make_shared<Shared>(client, workers_);
  traces_.push_back(shared);
  publish();
  return std::make_unique<Trace>(*this, std::move(shared));
}

void Tracing::stop(const std::shared_ptr<Shared>& trace) {
  std::erase(traces_, trace);
  publish();
}

void Tracing::publish() {
  auto next = std::make_shared<Observers>();
  for (unsigned worker = 0; worker < workers_ && !traces_.empty(); ++worker) {
    next->by_worker.push_back(std::make_unique<Tap>(traces_, worker));
  }
  replaced_.push_back(published_.load());
  published_.publish(std::move(next));
  // Nobody can take one up again once it is replaced: whoever is alone with it stays alone.
  std::erase_if(replaced_, [](const auto& observers) { return observers.use_count() == 1; });
}

}  // namespace limpet::control
