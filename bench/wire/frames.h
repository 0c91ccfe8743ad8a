// frames.h: Ethernet frames made before the clock starts, one for each client.
//
//   [ Ethernet 14 | IPv4 20 | UDP 8 | zeros 12 ] = kFrameSize, back to back in one block
//
// Frame i comes from client address `first_client` + i; everything else is the same in all. Checksums are complete: the
// kernel's conntrack verifies UDP's, and an incremental update by whoever rewrites the packet must end in a right one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace limpet::bench {

inline constexpr std::size_t kFrameSize = 54;

using Mac = std::array<std::uint8_t, 6>;

/// Addresses and ports are numbers in host order.
struct FrameSpec {
  Mac source_mac{};
  Mac destination_mac{};
  std::uint32_t first_client = 0;
  std::uint16_t source_port = 0;
  std::uint32_t destination = 0;
  std::uint16_t destination_port = 0;
};

class Frames {
 public:
  Frames(const FrameSpec& spec, std::size_t clients);

  std::size_t size() const noexcept { return bytes_.size() / kFrameSize; }
  /// kFrameSize bytes. index < size().
  std::span<std::uint8_t> operator[](std::size_t index) noexcept {
    return std::span(bytes_).subspan(index * kFrameSize, kFrameSize);
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

}  // namespace limpet::bench
