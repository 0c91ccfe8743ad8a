#include "lb/rules/chain_names.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include <nettle/sha2.h>

namespace limpet::rules {
namespace {

constexpr std::size_t kLetters = 16;
constexpr std::size_t kBitsPerLetter = 5;

/// The first kLetters of RFC 4648's base32: five bits a letter, the highest first. 16 letters are 10 bytes: no padding.
std::string base32(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  static_assert(kLetters * kBitsPerLetter % 8 == 0);
  std::string letters;
  std::uint32_t bits = 0;
  std::size_t held = 0;  // of them are not yet written
  for (const std::uint8_t byte : bytes.first(kLetters * kBitsPerLetter / 8)) {
    bits = bits << 8U | byte;
    for (held += 8; held >= kBitsPerLetter; held -= kBitsPerLetter) {
      letters += kAlphabet[bits >> (held - kBitsPerLetter) & 31U];
    }
  }
  return letters;
}

std::string name(std::string_view prefix, std::initializer_list<std::string_view> parts) {
  sha256_ctx context;
  sha256_init(&context);
  for (const std::string_view part : parts) {
    sha256_update(&context, part.size(), reinterpret_cast<const std::uint8_t*>(part.data()));
  }
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest{};
  sha256_digest(&context, digest.size(), digest.data());
  return std::string(prefix) + base32(digest);
}

}  // namespace

std::string cluster_chain(std::string_view service, net::Protocol protocol) {
  return name("KUBE-SVC-", {service, net::to_string(protocol)});
}

std::string local_chain(std::string_view service, net::Protocol protocol) {
  return name("KUBE-SVL-", {service, net::to_string(protocol)});
}

std::string external_chain(std::string_view service, net::Protocol protocol) {
  return name("KUBE-EXT-", {service, net::to_string(protocol)});
}

std::string firewall_chain(std::string_view service, net::Protocol protocol) {
  return name("KUBE-FW-", {service, net::to_string(protocol)});
}

std::string endpoint_chain(std::string_view service, net::Protocol protocol, const net::AddressPort& endpoint) {
  return name(kEndpointChainPrefix, {service, net::to_string(protocol), endpoint.to_string()});
}

}  // namespace limpet::rules
