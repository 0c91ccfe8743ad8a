// echo: limpet's own worker loop with nothing to decide. Every packet is accepted as it came, its payload written back.
//
// The ceiling for limpet on this machine: same loop, same socket settings, same buffers; what limpet loses against it
// is the cost of parsing, looking up and rewriting.
#include <atomic>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <utility>

#include "lb/queue/queue_socket.h"
#include "lb/queue/worker.h"

namespace {

using namespace limpet;

struct Echo {
  void begin_batch(std::span<const queue::Message>) {}
  datapath::Verdict handle(const datapath::Packet&) { return {.accept = true, .rewritten = true}; }
  void end_batch() {}
};

constexpr std::uint32_t kBatch = 64;

int serve(std::uint16_t number) {
  queue::QueueOptions options;
  options.number = number;
  auto socket = queue::QueueSocket::open(options);
  if (!socket) {
    std::cerr << "echo: " << socket.error().message << '\n';
    return 1;
  }
  for (const std::string& warning : socket->warnings()) std::cerr << "echo: " << warning << '\n';
  queue::Worker<Echo> worker(std::move(*socket), kBatch, Echo{});
  const std::atomic<queue::Command> command{queue::Command::run};
  worker.run(command);  // until it is killed
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: echo QUEUE\n";
    return 2;
  }
  try {
    return serve(static_cast<std::uint16_t>(std::stoul(argv[1])));
  } catch (const std::exception& error) {
    std::cerr << "echo: " << error.what() << '\n';
    return 1;
  }
}
