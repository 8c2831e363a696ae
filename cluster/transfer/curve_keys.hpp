#pragma once
// A CURVE key pair (Curve25519, in ZeroMQ's Z85 text form of 40 characters). Made anew for each life of a process, told to peers through the
// gate, kept in memory only. The secret one stands in no log, error or file (I14); it is wiped when the pair goes.

#include "cluster/base/error.hpp"

#include <string>
#include <string_view>

namespace flywheel::transfer {

class curve_keys {
public:
  /// unsupported: this build of ZeroMQ has no CURVE.
  static result<curve_keys> make();
  curve_keys(curve_keys&&) noexcept = default;
  curve_keys& operator=(curve_keys&&) noexcept = default;
  ~curve_keys();
  const std::string& public_key() const noexcept { return public_; }
  const std::string& secret_key() const noexcept { return secret_; }

private:
  curve_keys() = default;
  std::string public_, secret_;
};

/// 40 characters of Z85.
bool is_public_key(std::string_view text) noexcept;

} // namespace flywheel::transfer
