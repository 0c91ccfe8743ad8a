// state_fuzz.cpp: a state file of any content: it is opened and its tables are recovered, or it is set aside. Nothing that
// stands in it may make a process read outside, hang, or hand out a flow that it could not have made.
//
//   input   kind, then
//
//     0 file      the bytes of the whole file
//     1 header    edits of a good file: [offset 16 | byte] …
//     2 flows     edits of a good table behind a good header: [offset 24 | byte] …; then it is recovered, searched, swept,
//                 filled and emptied
//     3 affinities, 4 affinities of a process that was killed in every shard, 5 names      (damaged_tables.h)
//                 likewise
//
// Numbers are little-endian; offsets are taken modulo what there is. From kind 2 on no file is needed: the memory ends
// where the table does, so that AddressSanitizer sees the first byte beyond.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <span>
#include <string>

#include <stdlib.h>

#include "conntrack/flow/flow_table.h"
#include "conntrack/store/mapped_region.h"
#include "tests/fuzz/damaged_tables.h"
#include "tests/fuzz/require.h"
#include "tests/unit/flow/table_memory.h"

namespace {

using namespace limpet;
using fuzz::require;

constexpr std::uint32_t kCapacity = 24;

net::Tuple outer_of(std::uint16_t n) {
  return {n % 2 == 0 ? net::Protocol::tcp : net::Protocol::sctp,
          {net::Address::from_v4(0xc6336407), n},
          {net::Address::from_v4(0x0a600001), 80}};
}

/// Flows in every phase, some of them locked.
void populate(flow::FlowTable& table) {
  for (std::uint16_t n = 1; n <= 16; ++n) {
    flow::LockedFlow flow;
    require(table.create(outer_of(n), flow) == flow::FlowTable::Create::created, "the sample is made");
    flow->endpoint = {net::Address::from_v4(0x0a020005), 8080};
    require(table.link(*flow, flow::KeyRole::middle), "its middle key is free");
    if (n == 13) continue;  // begun
    table.commit(*flow);
    if (n % 3 == 0) {
      flow->egress = {net::Address::from_v4(0x0a800005), n};
      require(table.link(*flow, flow::KeyRole::inner), "its inner key is free");
    }
    if (n == 14) flow->phase = flow::Phase::ending;
    if (n == 15) table.remove(std::move(flow));
  }
}

/// Use every part of a table that has been recovered, until it is empty.
void exercise(flow::FlowTable& table, std::uint32_t kept) {
  require(table.size() == kept, "what was kept is there");
  std::set<const flow::Flow*> seen;
  std::uint32_t shown = 0;
  for (std::optional<std::uint32_t> at = 0; at; at = table.visit(*at, 5, [&](const flow::Flow& flow) {
         require(flow.is_whole(), "a flow that was kept is whole");
         seen.insert(&flow);
         ++shown;
       })) {
  }
  require(shown == kept && seen.size() == kept, "each is shown once");
  for (const flow::Flow* flow : seen) {
    for (const flow::KeyRole role : {flow::KeyRole::outer, flow::KeyRole::middle, flow::KeyRole::inner}) {
      const flow::Ends ends = flow->ends(role);
      table.find({flow->protocol, ends.near, ends.far});  // found, or not if its tag is damaged: but it ends
    }
  }
  for (std::uint16_t n = 100; n < 100 + 2 * kCapacity; ++n) {
    flow::LockedFlow flow;
    if (table.create(outer_of(n), flow) == flow::FlowTable::Create::created) flow->deadline = {};
  }
  require(table.size() == kCapacity, "every record serves");
  const flow::Instant end{flow::Milliseconds::max() - flow::Milliseconds(1)};
  std::size_t swept = 0;
  for (int lap = 0; lap < 4; ++lap) swept += table.sweep(kCapacity, end, [](const flow::Flow&) {});
  require(table.size() == kCapacity - swept, "what is swept is gone");
}

void fuzz_flows(std::span<const std::uint8_t> edits) {
  flow::TableMemory memory(kCapacity);
  {
    flow::FlowTable before(memory.options(), memory.bytes());
    populate(before);
  }
  fuzz::damage(memory.bytes(), edits);
  flow::FlowTable after(memory.options(), memory.bytes());
  const flow::FlowRecovery found = after.recover([](const flow::Flow&) { return true; });
  if (found.usable) exercise(after, found.kept);
}

/// A directory of this process's own on tmpfs; empty where there is none.
const std::string& directory() {
  static const struct Owned {
    std::string path;
    Owned() {
      char name[] = "/dev/shm/limpet-fuzz-XXXXXX";
      if (::mkdtemp(name) != nullptr) path = name;
    }
    ~Owned() {
      if (!path.empty()) std::filesystem::remove_all(path);
    }
  } owned;
  return owned.path;
}

void fuzz_file(bool whole, std::span<const std::uint8_t> input) {
  if (directory().empty()) return;
  const store::RegionOptions options{
      .path = directory() + "/a.state",
      .instance = "fuzz",
      .sections = {{"flows", flow::FlowTable::memory(kCapacity), flow::FlowTable::layout()}},
      .patience = {}};
  if (whole) {
    std::ofstream(options.path, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
  } else {
    require(static_cast<bool>(store::MappedRegion::open(options)), "a good file is opened");
    std::fstream file(options.path, std::ios::binary | std::ios::in | std::ios::out);
    for (; input.size() >= 3; input = input.subspan(3)) {
      file.seekp((input[0] | input[1] << 8) % static_cast<int>(sizeof(store::RegionHeader)));
      file.put(static_cast<char>(input[2]));
    }
  }
  store::Result<store::MappedRegion> region = store::MappedRegion::open(options);
  if (!region) return;  // no tmpfs there after all
  require(region->fresh() || region->warnings().empty(), "what is adopted is adopted in silence");
  flow::FlowTable table({.capacity = kCapacity, .key = region->seed(0), .timeouts = {}}, region->section(0));
  const flow::FlowRecovery found = table.recover([](const flow::Flow&) { return true; });
  require(found.usable && found.kept == 0, "there were no flows");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::uint8_t> rest(data + 1, size - 1);
  switch (data[0] % 6) {
    case 0:
      fuzz_file(true, rest);
      break;
    case 1:
      fuzz_file(false, rest);
      break;
    case 2:
      fuzz_flows(rest);
      break;
    case 3:
    case 4:
      fuzz::fuzz_affinities(data[0] % 6 == 4, rest);
      break;
    default:
      fuzz::fuzz_names(rest);
  }
  return 0;
}
