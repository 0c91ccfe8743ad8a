#include "lb/control/trace_stream.h"

#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/write.hpp>

#include "lb/control/step_json.h"

namespace limpet::control {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

/// Records of one worker in a piece.
constexpr std::size_t kPiece = 256;
constexpr unsigned kVersion = 11;

}  // namespace

TraceStream::TraceStream(std::shared_ptr<Session> session, Stream& stream, Api& api,
                         std::unique_ptr<Tracing::Trace> trace)
    : session_(std::move(session)),
      stream_(stream),
      api_(api),
      trace_(std::move(trace)),
      timer_(stream.get_executor()),
      head_(http::status::ok, kVersion) {
  head_.set(http::field::content_type, "application/x-ndjson");
  head_.chunked(true);
}

void TraceStream::start() {
  stream_.expires_never();  // the client has nothing more to say
  await_hangup();
  stream_.expires_after(api_.options.stalled);
  http::async_write_header(stream_, serializer_, [self = shared_from_this()](const error_code& error, std::size_t) {
    error ? self->end() : self->wait();
  });
}

/// Whatever comes, and be it nothing, the client has lost interest.
void TraceStream::await_hangup() {
  stream_.async_read_some(asio::buffer(input_),
                          [self = shared_from_this()](const error_code&, std::size_t) { self->end(); });
}

void TraceStream::wait() {
  if (trace_ == nullptr) return;
  timer_.expires_after(api_.options.drain);
  timer_.async_wait([self = shared_from_this()](const error_code& cancelled) {
    if (!cancelled) self->drain();
  });
}

void TraceStream::drain() {
  if (trace_ == nullptr) return;
  piece_ = piece();
  if (piece_.empty()) return wait();
  stream_.expires_after(api_.options.stalled);
  asio::async_write(
      stream_, http::make_chunk(asio::buffer(piece_)),
      [self = shared_from_this()](const error_code& error, std::size_t) { error ? self->end() : self->wait(); });
}

std::string TraceStream::piece() {
  std::string lines;
  for (const TraceRecord& record : trace_->drain(kPiece)) {
    datapath::PathStep step = to_step(record);
    if (step.decision) step.service = api_.resources.tables().service_of(record.connection);
    lines += to_json(step).dump() + "\n";
  }
  if (const std::uint64_t lost = trace_->lost(); lost > lost_) {
    lines += nlohmann::ordered_json{{"lost", lost - std::exchange(lost_, lost)}}.dump() + "\n";
  }
  return lines;
}

void TraceStream::end() {
  trace_.reset();
  timer_.cancel();
  session_->close();
}

}  // namespace limpet::control
