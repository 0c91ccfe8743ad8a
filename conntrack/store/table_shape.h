// table_shape.h: how a table of a given capacity is cut into shards.
//
//   capacity        shards   slots a shard   entries a shard takes    bytes an entry (16-byte slots)
//   below 512            1   capacity / .62  capacity, exactly
//   10,000, 1 worker    16            1,012                     775                           26.0
//   10,000              32              528                     419                           27.2
//   1,000,000        2,048              792                     621                           26.1
//   10,000,000       4,096            3,940                   2,738                           25.8
//
// Shards are a power of two: at least 16 a worker, so that two workers seldom meet, and as many as keep a shard at
// 2,000 to 4,096 slots, so that a whole one is read in microseconds; but never so many that one would take fewer than
// 256. A file's shape must not follow the number of workers, which the next start may change: it is that for the most
// there may be (256 in the rows above).
//
// Clients fall into shards at random: entries of a shard are Poisson about mean = capacity / shards. A shard takes
// mean + 6 sqrt(mean): of 4,096 shards with mean 2,442, one runs over with probability 1e-5, so that `capacity` clients
// fit without one being given up early. The load of the slots is .62 at capacity and never above .8.
// Pure arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

namespace limpet::store {

struct TableShape {
  std::uint32_t capacity = 1;  // what was asked for, at least 1
  std::uint32_t shards = 1;    // a power of two
  std::uint32_t slots = 4;     // of a shard; more than limit
  std::uint32_t limit = 1;     // entries that a shard takes

  static TableShape of(std::uint32_t capacity, unsigned workers, std::size_t slot_bytes) noexcept;
};

}  // namespace limpet::store
