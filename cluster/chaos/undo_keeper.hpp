#pragma once
// A process of its own that knows how to undo each stroke and does it: when it is told to, and, when whoever strikes is gone (also by
// SIGKILL), by itself. It is told before the stroke falls, so that nothing stays frozen, cut or full.

#include "cluster/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace flywheel {

/// What ends a stroke.
struct undo_action {
  enum class sort : std::uint8_t {
    thaw,    ///< SIGCONT to the process
    kill,    ///< SIGKILL to the process: the end of a grace period
    remove,  ///< the file
    run,     ///< each command, in order
    start,   ///< the first command, in the background, unless somebody holds the lock of the state folder `file` again
  } what = sort::thaw;
  std::string text;                              ///< for people: "node1 thaws"
  int pid = 0;                                   ///< of start: who held the lock
  std::uint64_t started = 0;
  std::filesystem::path file, folder, log;
  std::vector<std::vector<std::string>> commands;
  std::vector<std::string> environment;          ///< of start
};

class undo_keeper {
public:
  /// Forks the keeper. Only while this process has one thread.
  static result<undo_keeper> start();
  /// The keeper knows it when this returns. A number that names it.
  result<std::uint64_t> add(const undo_action& a);
  /// It need not be undone any more.
  status forget(std::uint64_t id);
  /// Undoes it now, once; an error says what did not work.
  status undo(std::uint64_t id);
  /// So many processes that burn CPU time, until undone.
  result<std::uint64_t> burn(unsigned workers);
  /// Undoes what is left, in the reverse order, and ends the keeper.
  ~undo_keeper();
  undo_keeper(undo_keeper&& other) noexcept;
  undo_keeper(const undo_keeper&) = delete;
  undo_keeper& operator=(undo_keeper&&) = delete;

private:
  undo_keeper() = default;
  result<std::uint64_t> ask(const std::string& request);
  int fd_ = -1, pid_ = -1;
};

} // namespace flywheel
