// script.h: plays one golden file in one family. The language: tests/golden/README.md.
//
//   settings ─▶ Config ─▶ World, when the first packet comes
//   in        one packet crosses a hook; what became of it waits for its `out`
//   out       compared byte by byte with the packet as the encoder makes it
//
// The first disagreement ends the file: what follows would build on it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "lb/service/config.h"
#include "tests/golden/runner/packet_text.h"
#include "tests/golden/runner/world.h"

namespace limpet::golden {

/// The program does not do what the file says.
struct Disagreement : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Script {
 public:
  explicit Script(bool v4);

  /// Throws SyntaxError, Disagreement.
  void line(const std::string& text);
  /// After the last line.
  void finish() const;

 private:
  void setting(const std::string& word, Words& words);
  void service(Words& words);
  void set(Words& words);
  void in(Words& words);
  void out(Words& words);
  void expect_packet(Words& words);
  PacketSpec read_expected(Words& words);
  void expect_same(Words& words);
  void expect_drop(Words& words);
  void expect_reply(Words& words);
  void expect_mark(std::uint32_t mark) const;
  void expect_counted(const std::string& counter) const;

  Cast cast_;
  service::Config config_;
  std::unique_ptr<World> world_;
  std::map<std::string, std::uint64_t> counts_;  // before the packet
  Bytes arrived_;
  std::uint32_t arrived_mark_ = 0;
  std::optional<Departure> departed_;  // not yet compared
  Bytes last_;                         // the last packet that was let go
  std::uint32_t last_mark_ = 0;
};

/// Plays the file in each family that it is for. Returns what is wrong with it, "" if nothing.
std::string play(const std::filesystem::path& file);

}  // namespace limpet::golden
