#pragma once
// A node that works for a head: gate, task host and agent host in one process; no journal.

#include "cluster/base/clock.hpp"
#include "cluster/placement/slot.hpp"
#include "cluster/security/certificates.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace flywheel {

struct member_options {
  std::filesystem::path state;             ///< of this node alone: its workers' socket, its incarnations
  tls_files files;                         ///< of a node; its name is in the certificate
  std::string head_host;
  std::uint16_t head_port = 0;
  std::vector<slot> slots;
  std::vector<std::string> worker_command; ///< argv of a worker process
  std::string code_version;                ///< for lineage
  std::uint64_t cache_bytes_max = std::uint64_t{20} << 30; ///< of files fetched from a head that shares none
  std::function<void(const std::string& reason)> shut_down;  ///< from an actor's thread: end this process soon
  std::function<void(const std::string& sentence)> log;
};

class member_node {
public:
  /// Begins to dial the head, for ever. state_locked, or as of check_tls_files.
  static result<std::unique_ptr<member_node>> start(member_options options, const time_source& time);
  const std::string& name() const noexcept;
  /// Ends the workers and says goodbye. Idempotent.
  void stop();
  ~member_node();

private:
  member_node();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
