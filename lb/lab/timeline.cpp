#include "lb/lab/timeline.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include "lb/lab/capture_events.h"
#include "lb/lab/event_file.h"

namespace limpet::lab {
namespace {

/// pcap in micro- and nanoseconds, either byte order; pcapng.
bool begins_like_a_capture(std::ifstream& file) {
  constexpr std::array<std::array<unsigned char, 4>, 5> kBeginnings{{{0xa1, 0xb2, 0xc3, 0xd4},
                                                                     {0xd4, 0xc3, 0xb2, 0xa1},
                                                                     {0xa1, 0xb2, 0x3c, 0x4d},
                                                                     {0x4d, 0x3c, 0xb2, 0xa1},
                                                                     {0x0a, 0x0d, 0x0d, 0x0a}}};
  std::array<char, 4> beginning{};
  if (!file.read(beginning.data(), beginning.size())) return false;
  return std::any_of(kBeginnings.begin(), kBeginnings.end(),
                     [&](const auto& known) { return std::memcmp(known.data(), beginning.data(), known.size()) == 0; });
}

}  // namespace

store::Result<std::unique_ptr<EventSource>> open_timeline(const std::string& path, const flow::Timeouts& timeouts) {
  std::ifstream file(path, std::ios::binary);
  file.peek();  // a folder can be opened, but not read
  if (!file.is_open() || file.bad()) {
    return store::Error{store::ErrorKind::runtime, path + " cannot be read; name a file of JSON lines or a capture"};
  }
  file.clear();
  if (begins_like_a_capture(file)) {
    auto capture = CaptureFile::open(path);
    if (!capture) return capture.error();
    return std::unique_ptr<EventSource>(new CaptureEvents(path, std::move(*capture), timeouts));
  }
  return std::unique_ptr<EventSource>(new EventFile(path));
}

}  // namespace limpet::lab
