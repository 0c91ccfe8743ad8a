// catalog.h: all services by who declares them, and the snapshot that they make: a change costs what it changes.
//
//   Group       what one declares: the configuration itself, or a Service of Kubernetes with its endpoints
//                     │  apply(groups)
//                     ▼
//   Claims      who has which doors (claims.h) ── a group that comes or goes may change its rivals' ──▶ touched
//                     ▼
//   Identities  names for what is new, none for what is gone
//                     ▼
//   Snapshot    the former one, with the service ports that are touched made anew: immutable, to be published
//
// A service port whose Service is the same as before stays the same object. Of a scope that several service ports share
// all are made anew when one is: they know of each other's addresses.
//
// When the names do not fit into the tables, apply() refuses, says so, and nothing has changed. open() goes on with what
// fits: all that the configuration itself declares, of Services of Kubernetes those that there is room for, the older asked
// first, and of the others the endpoints whose names are known from the process before: their clients stay with them.
// Control thread only. O(what the groups declare, and what is claimed by others as well), whatever else there is.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/service/claims.h"
#include "lb/service/config.h"
#include "lb/service/identities.h"
#include "lb/service/snapshot.h"

namespace limpet::service {

/// Who declares services, and which.
struct Group {
  std::string name;  // unique
  bool native = false;
  std::string created;            // creationTimestamp of an object
  std::vector<Service> services;  // none: it is gone
};

/// What the groups declare, less what each loses to an older one, in their order; `losses` in words that name both.
std::vector<Service> settle(std::vector<Group> groups, std::vector<std::string>& losses);

/// From one snapshot to the next.
struct SnapshotChange {
  std::shared_ptr<const Snapshot> snapshot;
  Snapshot::Ports gone;
  Snapshot::Ports made;
  std::vector<datapath::StateChange> states;  // to be put in force around its publication (endpoint_slots.h)
  std::vector<std::string> losses;  // what services touched by the change do not have since others have it, in words
  bool empty() const noexcept { return gone.empty() && made.empty(); }
};

class Catalog {
 public:
  using SlotInUse = Identities::SlotInUse;

  Catalog(Identities& identities, NodeConfig node, IcmpEcho echo);
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  struct Opened {
    std::vector<ServiceIds> also;  // their ids
    std::vector<Group> left_out;   // that do not fit, as they were declared; the older first
  };
  /// What there is at first; all other names are forgotten, but those of `also`: what is not served, but named. Errors: as
  /// Identities::assign, of what is native and `also`.
  store::Result<Opened> open(std::vector<Group> groups, std::span<const Service> also, const SlotInUse& in_use);
  /// Each group takes the place of the one of its name.
  store::Result<SnapshotChange> apply(std::vector<Group> groups, const SlotInUse& in_use);

  std::shared_ptr<const Snapshot> snapshot() const noexcept { return snapshot_; }
  /// Of all services: SnapshotChange::losses. O(services).
  std::vector<std::string> losses() const;

 private:
  using Members = std::vector<std::unique_ptr<Declared>>;
  struct Changes {
    Snapshot::Ports gone;
    std::vector<Declared*> made;                          // to be served otherwise than before
    std::vector<std::shared_ptr<const Service>> granted;  // what each of them may
    // Declared anew, as they were: they go on by what the former one was served by.
    std::vector<std::pair<Declared*, std::shared_ptr<const ServicePort>>> kept;
  };

  store::Result<std::vector<ServiceIds>> try_to_open(std::span<const Service> also, const SlotInUse& in_use);
  /// Of Services of Kubernetes, the older asked first, those stay that fit into `room` beside what is native and `also`. Of
  /// the others only what is known stays, or nothing.
  void reduce(const IdentityLimits& room, std::span<const Service> also, bool keep_known,
              std::map<std::string, Group>& left_out);
  std::vector<Declared*> everyone() const;
  /// Puts `members` in the place of those of this name, which it returns.
  Members exchange(const std::string& group, Members members);
  Changes changes(std::span<Declared* const> touched, std::span<const Members> former);
  void serve(const Changes& changes, std::vector<ServiceIds> ids, Snapshot::Ports& made);

  Identities& identities_;
  NodeConfig node_;
  Claims claims_;
  std::unordered_map<std::string, Members> groups_;
  std::unordered_map<std::string, std::unordered_set<Declared*>> sharers_;  // by affinity_group
  std::shared_ptr<const Snapshot> snapshot_;
};

}  // namespace limpet::service
