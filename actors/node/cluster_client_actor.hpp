#pragma once
// A person's program at the head's port: a gate of its own, one request at a time.

#include "cluster/base/clock.hpp"
#include "cluster/base/error.hpp"
#include "cluster/security/certificates.hpp"

#include <memory>
#include <string>

namespace flywheel {

class cluster_client {
public:
  /// Connects to the head at "host:port" as whom the certificate says. invalid_argument, unreachable, not_allowed, or as of
  /// check_tls_files.
  static result<std::unique_ptr<cluster_client>> connect(const std::string& address, const tls_files& files, const time_source& time,
                                                         nanoseconds within = std::chrono::seconds{10});
  /// Asks the head's service "control". Blocks. unreachable or timed_out: it may or may not have been done.
  result<std::string> ask(const std::string& request, nanoseconds wait);
  ~cluster_client();

private:
  cluster_client();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
