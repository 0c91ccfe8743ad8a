// sample_flows.h: flows of one client as the pipeline makes them, step by step. Each step is what a kill may find last.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "conntrack/flow/flow_table.h"

namespace limpet::flow {

inline net::AddressPort at(std::string_view text) {
  return net::AddressPort::parse(text).value();
}

/// The keys of the flow from client port `port`.
struct Keys {
  net::Tuple outer, middle, inner;
};
inline Keys keys(std::uint16_t port) {
  const net::AddressPort client{at("203.0.113.7:0").address, port}, endpoint = at("10.28.8.5:80");
  return {{net::Protocol::tcp, client, at("10.31.240.99:80")},
          {net::Protocol::tcp, client, endpoint},
          {net::Protocol::tcp, {at("10.128.0.5:0").address, port}, endpoint}};
}
inline LockedFlow create(FlowTable& table, std::uint16_t port) {
  LockedFlow flow;
  EXPECT_EQ(table.create(keys(port).outer, flow), FlowTable::Create::created);
  return flow;
}
inline LockedFlow begin(FlowTable& table, std::uint16_t port) {
  LockedFlow flow = create(table, port);
  flow->endpoint = keys(port).middle.destination;
  flow->endpoint_id = {1, 7};
  flow->masquerade = true;
  EXPECT_TRUE(table.link(*flow, KeyRole::middle));
  return flow;
}
inline LockedFlow commit(FlowTable& table, std::uint16_t port) {
  LockedFlow flow = begin(table, port);
  table.commit(*flow);
  return flow;
}
inline LockedFlow masquerade(FlowTable& table, std::uint16_t port) {
  LockedFlow flow = commit(table, port);
  flow->egress = keys(port).inner.source;
  EXPECT_TRUE(table.link(*flow, KeyRole::inner));
  return flow;
}

/// Which of them lead to a flow: "outer middle".
inline std::string found(FlowTable& table, const Keys& keys) {
  std::string text;
  for (const auto& [name, key] : {std::pair{"outer", keys.outer}, {"middle", keys.middle}, {"inner", keys.inner}}) {
    if (table.find(key)) text += (text.empty() ? "" : " ") + std::string(name);
  }
  return text;
}

}  // namespace limpet::flow
