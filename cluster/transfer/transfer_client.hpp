#pragma once
// A node's side of the file server: fetches and brings files of a lease's task, with several chunks under way, and goes on where it was after
// a broken connection. One thread at a time; interrupt() from any.

#include "cluster/base/clock.hpp"
#include "cluster/transfer/curve_keys.hpp"
#include "cluster/transfer/transfer_format.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace flywheel::transfer {

/// Chunks under way at once: so much memory a transfer takes, at each end.
inline constexpr std::size_t window = 8;

struct client_options {
  std::string endpoint;                         ///< "tcp://host:port"
  std::string server_key;                       ///< public
  nanoseconds ask_again{1'000'000'000};         ///< what is not answered is asked again, each time after twice as long
  nanoseconds unconnected_for{20'000'000'000};  ///< then nobody is taken to be there: unreachable
  nanoseconds silent_for{600'000'000'000};      ///< connected, and no answer: timed_out (a large file may take that long to be checked)
};

struct listing {
  std::vector<file_entry> files;
  bool is_file = false;                         ///< the root is a file: one entry without a name
};

/// One transfer's `stop`: asked often; true ends it with `interrupted`.
using stop_function = std::function<bool()>;

class transfer_client {
public:
  static result<std::unique_ptr<transfer_client>> connect(client_options options, const curve_keys& own, const time_source& time);
  ~transfer_client();

  // Each: what the server says, or unreachable, timed_out, interrupted.
  result<listing> list(std::uint64_t lease, std::uint64_t root, const stop_function& stop);
  /// Into `file`, behind what is there already from an earlier try. Complete when it returns, but not checked: the caller looks at the
  /// digest of the whole. On failure `file` ends with the last byte that may be kept.
  status fetch(std::uint64_t lease, std::uint64_t root, const file_entry& what, int file, const stop_function& stop);
  /// Brings `file`, whose content is `what`, and has it published as what.name.
  status bring(std::uint64_t lease, std::uint64_t root, const file_entry& what, int file, const stop_function& stop);
  status remove(std::uint64_t lease, std::uint64_t root, const std::string& name, const stop_function& stop);
  status finish(std::uint64_t lease, std::uint64_t root, const std::vector<file_entry>& files, const stop_function& stop);

  /// Has a transfer look at its `stop` at once.
  void interrupt() noexcept;

private:
  transfer_client();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel::transfer
