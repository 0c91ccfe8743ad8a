// claims.h: who has what two services claim at once.
//
//   claimed    a name (of one family): the whole service port with it
//              a VIP with port and protocol; a nodePort: that door alone
//   has it     the older: native ones before those of Kubernetes objects, then by creationTimestamp, then by name
//
// Who does not have its own name claims nothing else. When an older one comes or goes, what it had changes hands:
// take_touched() names all whose doors may be others now.
//
// Control thread. A service port costs O(1) expected for each of its doors, and a step for each other one that claims the
// same.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lb/datapath/diversion_plan.h"
#include "lb/service/service.h"
#include "lb/service/service_port.h"

namespace limpet::service {

/// A service port as somebody has declared it.
struct Declared {
  std::shared_ptr<const Service> service;
  bool native = false;
  std::string created;                        // creationTimestamp, sorts as text
  std::shared_ptr<const ServicePort> served;  // what has become of it; the Catalog's
  bool has_name = false;                      // the Claims' own
  std::uint64_t number = 0;                   // counted from the first that was added
};

class Claims {
 public:
  /// It stays where it is until it is removed.
  void add(Declared& declared);
  void remove(Declared& declared);

  /// Those added, and those that have lost or won something, since the last call; in the order of their adding.
  std::vector<Declared*> take_touched();
  /// What it may serve: as declared, less what others have; nullptr: nothing.
  std::shared_ptr<const Service> granted(const Declared& declared) const;
  /// What it has lost, in words that name both.
  std::vector<std::string> losses(const Declared& declared) const;

 private:
  struct Claimants {
    Declared* owner = nullptr;
    std::vector<Declared*> younger;  // in order
  };
  using PortName = std::pair<std::string_view, net::Family>;  // the text is a Declared's
  struct NameHash {
    std::size_t operator()(const PortName& name) const noexcept {
      return std::hash<std::string_view>{}(name.first) + static_cast<std::size_t>(name.second);
    }
  };

  void enter_doors(Declared& declared);
  void leave_doors(Declared& declared);
  void let_name_go(const PortName& name, Declared& declared);
  const Declared* owner_of(const datapath::L4Address& door) const;

  std::unordered_map<PortName, Claimants, NameHash> names_;
  std::unordered_map<datapath::L4Address, Claimants, datapath::L4Hash>
      doors_;  // nodePorts at the unspecified address of their family
  std::unordered_set<Declared*> touched_;
  std::uint64_t next_number_ = 1;
};

}  // namespace limpet::service
