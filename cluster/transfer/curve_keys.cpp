#include "cluster/transfer/curve_keys.hpp"

#include "cluster/worker/zmq_socket.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <strings.h>
#include <zmq.h>

namespace flywheel::transfer {

namespace {
constexpr std::size_t key_length = 40;
}

result<curve_keys> curve_keys::make() {
  std::array<char, key_length + 1> open{}, secret{};
  if (zmq_curve_keypair(open.data(), secret.data()) != 0)
    return error{errc::unsupported, "this build of ZeroMQ has no CURVE encryption", {}, "install a libzmq that was built with libsodium"};
  curve_keys k;
  k.public_ = open.data();
  k.secret_ = secret.data();
  ::explicit_bzero(secret.data(), secret.size());
  return k;
}

curve_keys::~curve_keys() { ::explicit_bzero(secret_.data(), secret_.size()); }

bool is_public_key(std::string_view text) noexcept {
  constexpr std::string_view alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
  return text.size() == key_length && text.find_first_not_of(alphabet) == std::string_view::npos;
}

} // namespace flywheel::transfer
