// sample_plan.h: a plan with both families, both protocols and all three lists, small enough to render by hand.
#pragma once

#include "lb/datapath/diversion_plan.h"

namespace limpet::test {

inline datapath::L4Address tcp(const char* at) {
  return {net::Protocol::tcp, *net::AddressPort::parse(at)};
}
inline datapath::L4Address udp(const char* at) {
  return {net::Protocol::udp, *net::AddressPort::parse(at)};
}

inline datapath::DiversionPlan sample_plan() {
  return {.services = {tcp("10.96.0.1:80"), tcp("[fd00:96::1]:80"), udp("10.96.0.10:53")},
          .endpoints = {tcp("10.2.0.2:8080"), tcp("[fd00:2::2]:8080"), udp("10.2.0.3:53")},
          .locals = {*net::Address::parse("10.1.0.1"), *net::Address::parse("fd00:1::1")}};
}

}  // namespace limpet::test
