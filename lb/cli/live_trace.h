// live_trace.h: `limpet trace --from IP`, without a capture: each hook crossing of a client's packets in the running daemon, as it
// happens, until Ctrl-C. The same columns as offline (render_path.h); -j prints the same objects (lb/control/step_json.h).
//
// Exit codes: 0 ended by the reader of the output; 2 usage; 4 no daemon answers, as many traces as it allows run already, or it has
// ended; 5 its socket is not for this user.
#pragma once

#include <iosfwd>
#include <string>

#include "lb/cli/api_option.h"

namespace limpet::cli {

struct LiveTraceOptions {
  DaemonAddress daemon{};
  std::string from{};
  bool json = false;
};

int run_live_trace(const LiveTraceOptions& options, std::ostream& out, std::ostream& err);

}  // namespace limpet::cli
