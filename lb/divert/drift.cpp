#include "lb/divert/drift.h"

#include <array>
#include <memory>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

namespace limpet::divert {

namespace {

struct Close {
  void operator()(mnl_socket* socket) const noexcept { mnl_socket_close(socket); }
};

int read_attribute(const nlattr* attribute, void* found) {
  if (mnl_attr_get_type(attribute) == NFTA_GEN_ID && mnl_attr_validate(attribute, MNL_TYPE_U32) == 0) {
    *static_cast<std::optional<std::uint32_t>*>(found) = ntohl(mnl_attr_get_u32(attribute));
  }
  return MNL_CB_OK;
}

int read_message(const nlmsghdr* message, void* found) {
  return mnl_attr_parse(message, sizeof(nfgenmsg), read_attribute, found);
}

}  // namespace

std::optional<std::uint32_t> nft_generation() {
  const std::unique_ptr<mnl_socket, Close> socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) return std::nullopt;
  alignas(nlmsghdr) std::array<char, 4096> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
  header->nlmsg_flags = NLM_F_REQUEST;
  auto* generic = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  generic->nfgen_family = AF_UNSPEC;
  generic->version = NFNETLINK_V0;
  if (mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0) return std::nullopt;
  const ssize_t received = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
  std::optional<std::uint32_t> generation;
  if (received <= 0) return std::nullopt;
  mnl_cb_run(buffer.data(), static_cast<std::size_t>(received), 0, mnl_socket_get_portid(socket.get()), read_message,
             &generation);
  return generation;
}

}  // namespace limpet::divert
