#pragma once
// The batch script that boots a cluster in a Slurm allocation. The script is a header for sbatch and one exec: what happens then is
// in `flywheel slurm boot`, which gets Slurm's signals because it takes the shell's place.

#include "cluster/base/error.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace flywheel {

/// The goal was not over when its allocation had to end (EX_TEMPFAIL): the same job again continues it.
inline constexpr int exit_again = 75;
/// A node does not see the head's state folder (EX_CONFIG).
inline constexpr int exit_not_shared = 78;

struct slurm_script {
  std::string name = "flywheel";                ///< of the job
  std::string program;                          ///< absolute path; empty: $FLYWHEEL, else flywheel in PATH
  std::string goal;                             ///< its canonical form, on one line; empty: the script's arguments name it
  std::string output;                           ///< where the job's output goes; empty: where sbatch puts it
  std::vector<std::string> boot_options;        ///< of `flywheel slurm boot`
  std::vector<std::string> sbatch_options;      ///< of sbatch, as on its command line; they override our own
  std::chrono::seconds grace{120};              ///< Slurm signals so long before the time limit
};

/// The script's text. invalid_argument if a word holds a control character, which no such line can hold.
result<std::string> render(const slurm_script& script);
/// A word as bash reads it back.
std::string bash_quoted(std::string_view word);

} // namespace flywheel
