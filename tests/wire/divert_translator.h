// divert_translator.h: the least that can stand behind the rules: one queue, one VIP, one endpoint, no state.
//
// Destination VIP becomes the endpoint at PREROUTING and OUTPUT, source endpoint becomes the VIP at POSTROUTING and
// INPUT; all else passes. Notes each packet's hook, so that a test can say which packets the rules bring, and where.
// Runs in a thread.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "conntrack/net/address.h"

struct mnl_socket;
struct nlmsghdr;

namespace limpet::test {

class Translator {
 public:
  /// Queue 0. Bound and configured on return.
  Translator(net::AddressPort vip, net::AddressPort endpoint);
  ~Translator();
  Translator(const Translator&) = delete;
  Translator& operator=(const Translator&) = delete;

  /// "output prerouting input ", in order of arrival.
  std::string hooks() const;

 private:
  void configure();
  void loop();
  void answer(const nlmsghdr* message);

  net::AddressPort vip_;
  net::AddressPort endpoint_;
  mnl_socket* socket_;
  mutable std::mutex mutex_;
  std::string hooks_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace limpet::test
