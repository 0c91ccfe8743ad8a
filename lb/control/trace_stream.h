// trace_stream.h: GET /v1/trace?from=IP: each crossing of a client's packets, as it happens, until the connection ends.
//
//   rings (tracing.h) ── every `drain` ms, unless a piece is still on its way ──▶ one piece: a chunk of NDJSON lines
//
// Lines: the objects of step_json.h; {"lost": N} where N more records found no room, because more packets came than were
// drained, or the reader did not take them. The response's head is sent when the trace has begun: what comes after it is seen.
// A reader that takes nothing for `stalled` is dropped. Memory: one piece.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/serializer.hpp>

#include "lb/control/session.h"

namespace limpet::control {

class TraceStream : public std::enable_shared_from_this<TraceStream> {
 public:
  /// `session` owns the rest, but for the trace, and is kept.
  TraceStream(std::shared_ptr<Session> session, Stream& stream, Api& api, std::unique_ptr<Tracing::Trace> trace);
  void start();

 private:
  using Head = boost::beast::http::response<boost::beast::http::empty_body>;

  void await_hangup();
  void wait();
  void drain();
  std::string piece();
  void end();

  std::shared_ptr<Session> session_;
  Stream& stream_;
  Api& api_;
  std::unique_ptr<Tracing::Trace> trace_;  // nullptr: ended
  boost::asio::steady_timer timer_;
  Head head_;
  boost::beast::http::response_serializer<boost::beast::http::empty_body> serializer_{head_};
  std::string piece_;  // on its way
  std::uint64_t lost_ = 0;
  std::array<char, 64> input_{};
};

}  // namespace limpet::control
