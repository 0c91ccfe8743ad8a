// kube_rules.h: what kube-proxy writes for services with sessionAffinity: ClientIP, as text.
//
//   KUBE-SERVICES ─ clusterIP 10.96.x.y:80 ▶ KUBE-SVC-n: affinity cascade, random cascade ▶ KUBE-SEP-n-m: hairpin, set, DNAT
//   KUBE-NODEPORTS ─ 30000 + n ────────────▶ the same
//
// Service n is 10.96.(n / 250).(n % 250 + 1), its endpoint m 10.(64 + n % 64).(m / 250).(m % 250 + 1):8080.
#pragma once

#include <cstdio>
#include <string>

namespace limpet::test {

inline std::string kube_address(int first, int second, int number) {
  return std::to_string(first) + "." + std::to_string(second) + "." + std::to_string(number / 250) + "." +
         std::to_string(number % 250 + 1);
}
inline std::string kube_service(int service) {
  return kube_address(10, 96, service);
}
inline std::string kube_endpoint(int service, int endpoint) {
  return kube_address(10, 64 + service % 64, endpoint) + ":8080";
}

inline std::string kube_service_rules(int service, int endpoints, int seconds) {
  const std::string number = std::to_string(service), svc = "KUBE-SVC-" + number;
  std::string rules = "-A KUBE-SERVICES -d " + kube_service(service) + "/32 -p tcp -m comment --comment \"ns/s" +
                      number + " cluster IP\" -m tcp --dport 80 -j " + svc +
                      "\n-A KUBE-NODEPORTS -p tcp -m tcp --dport " + std::to_string(30000 + service) + " -j " + svc +
                      "\n-A " + svc + " ! -s 10.64.0.0/10 -d " + kube_service(service) +
                      "/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ\n";
  const auto sep = [&](int i) { return "KUBE-SEP-" + number + "-" + std::to_string(i); };
  for (int i = 0; i < endpoints && seconds > 0; ++i) {
    rules += "-A " + svc + " -m recent --rcheck --seconds " + std::to_string(seconds) + " --reap --name " + sep(i) +
             " --mask 255.255.255.255 --rsource -j " + sep(i) + "\n";
  }
  for (int i = 0; i + 1 < endpoints; ++i) {
    char probability[32];
    std::snprintf(probability, sizeof probability, "%.10f", 1.0 / (endpoints - i));
    rules += "-A " + svc + " -m statistic --mode random --probability " + probability + " -j " + sep(i) + "\n";
  }
  rules += "-A " + svc + " -j " + sep(endpoints - 1) + "\n";
  for (int i = 0; i < endpoints; ++i) {
    const std::string to = kube_endpoint(service, i);
    rules += "-A " + sep(i) + " -s " + to.substr(0, to.find(':')) + "/32 -j KUBE-MARK-MASQ\n-A " + sep(i) + " -p tcp" +
             (seconds > 0 ? " -m recent --set --name " + sep(i) + " --mask 255.255.255.255 --rsource" : "") +
             " -m tcp -j DNAT --to-destination " + to + "\n";
  }
  return rules;
}

/// A whole nat table.
inline std::string kube_rules(int services, int endpoints, int seconds = 10800) {
  std::string rules =
      "*nat\n-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n"
      "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j "
      "RETURN\n-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n";
  for (int i = 0; i < services; ++i) rules += kube_service_rules(i, endpoints, seconds);
  return rules + "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n";
}

}  // namespace limpet::test
