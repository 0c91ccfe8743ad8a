// notify.h: tell the service manager how we are (sd_notify(3), without libsystemd).
#pragma once

#include <string_view>

namespace limpet::cli {

/// One datagram ("READY=1", "STOPPING=1", …) to the socket named by $NOTIFY_SOCKET. Nothing where there is none.
void notify_service_manager(std::string_view state) noexcept;

}  // namespace limpet::cli
