// event_file.h: a timeline as JSON lines, one new connection a line.
//
//   {"t":0.25,"from":"203.0.113.7:40000","to":"10.31.240.99:80","protocol":"tcp","in_interface":"eth0","ttl":63}
//
//   t             seconds, at least 0, with up to six decimals that count; never less than in the line before
//   from, to      IP:PORT or [IP]:PORT, of one family; the port of `to` is not 0
//   protocol      tcp, udp, sctp or udplite
//   in_interface  optional; unknown if it is not given
//   ttl           optional, 0 to 255, as the packet came; else 64
//
// A key that is not here or is there twice, a value of another kind, or anything but one object a line is an error with
// its line and what to write instead (ErrorKind::configuration). Empty lines are skipped.
#pragma once

#include <fstream>
#include <string>

#include "lb/lab/timeline.h"

namespace limpet::lab {

class EventFile final : public EventSource {
 public:
  explicit EventFile(const std::string& path);

  store::Result<bool> next(Event& event) override;
  std::string place(const Event& event) const override;
  double progress() const override;

 private:
  std::string path_;
  std::ifstream file_;
  std::string line_;
  std::uint64_t number_ = 0;
  std::uint64_t size_ = 0;  // bytes
  std::uint64_t read_ = 0;
  std::chrono::microseconds last_{};
};

/// One line, without its newline. Empty: `event` is what it says; else what is wrong with it, and what to do.
std::string parse_event(const std::string& line, Event& event);

}  // namespace limpet::lab
