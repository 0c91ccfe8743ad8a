// nft_command.h: nft(8), run, and what it says when it fails.
//
// nft prints the line that it complains of: the elements of a set may be megabytes. Only the first complaint is kept:
// "nft: Could not process rule: No such file or directory".
#pragma once

#include <string_view>

#include "conntrack/store/result.h"

namespace limpet::divert {

enum class NftMode { carry_out, check };

/// One transaction. `check`: the kernel judges it and takes none of it.
store::Status nft(std::string_view transaction, NftMode mode = NftMode::carry_out);

}  // namespace limpet::divert
