#pragma once
// What each command does. Handlers read the command line, do, print, and return an exit code or an error; execute() turns
// errors into messages and exit codes.

#include "actors/client/command_line.hpp"
#include "actors/node/node.hpp"

#include <filesystem>
#include <optional>

namespace flywheel {

/// What every handler is given.
struct command_context {
  const command_line& line;
  std::filesystem::path state;   ///< the state directory asked for
  output_style style = output_style::table;
  bool colour = false;           ///< on standard output
  bool colour_err = false;       ///< on standard error
};

/// Runs the command of `line` and returns the process's exit code.
int execute(const command_line& line);

/// The name of whoever runs this process, from the password database; "uid-N" if it has none. $USER is not asked: anybody can set it.
std::string user_name();
/// argv of a worker or background process of this same program.
std::vector<std::string> own_program(std::vector<std::string> arguments);

// commands_goal.cpp
result<int> run_goal(const command_context& c);
result<int> submit_only(const command_context& c);
result<int> show_plan(const command_context& c);
result<int> follow_goal(const command_context& c);
result<int> answer_request(const command_context& c, bool grant);
result<int> cancel_running(const command_context& c);
result<int> serve_state(const command_context& c);
// commands_look.cpp
result<int> list_goals(const command_context& c);
result<int> describe(const command_context& c);
result<int> explain_why(const command_context& c);
result<int> list_models(const command_context& c);
result<int> show_journal(const command_context& c);
result<int> check_journal(const command_context& c);
result<int> mend_journal(const command_context& c);
// commands_use.cpp
result<int> predict(const command_context& c);
result<int> roll_back(const command_context& c);
result<int> data_infer(const command_context& c);
result<int> data_check(const command_context& c);
result<int> explain_setting(const command_context& c);
result<int> run_doctor(const command_context& c);
result<int> print_version(const command_context& c);
/// Owns the state folder and serves until it is stopped; with `cluster` as the head of one.
result<int> own_state(const command_context& c, std::optional<cluster_options> cluster);
/// A goal that was read, checked and named.
struct checked_goal {
  std::string id, name, spec_json;
};
/// Nothing if the goal has problems; they are printed.
result<std::optional<checked_goal>> check_goal(const command_context& c);
/// What a batch system's job does around its goal. All are called on the one thread that runs it.
struct batch_job {
  std::function<status(node&)> started;                      ///< the head's port is open
  std::function<result<std::optional<int>>(node&)> turn;     ///< at each event, and every 250 ms: go on, or leave with this exit code
  std::function<void(node&)> over;                           ///< the goal is over, or is left; before the head ends
};
/// Heads a cluster until the goal of the command line is over; 6 if it waits for a person.
result<int> run_batch_job(const command_context& c, cluster_options cluster, const batch_job& job);
// commands_cluster.cpp
/// Works for the head at `address` until a signal, or the head, ends it.
result<int> work_for_head(const command_context& c, const std::string& address, const std::filesystem::path& certs, std::vector<slot> slots,
                          std::optional<std::uint64_t> cache_bytes_max = std::nullopt);
result<int> run_node(const command_context& c);
result<int> start_local_cluster(const command_context& c);
result<int> list_nodes_of(const command_context& c);
result<int> drain_one(const command_context& c);
result<int> end_cluster(const command_context& c);
// commands_slurm.cpp
result<int> render_slurm_script(const command_context& c);
result<int> submit_to_slurm(const command_context& c);
result<int> boot_in_slurm(const command_context& c);
result<int> work_in_slurm(const command_context& c);
// commands_chaos.cpp
result<int> rehearse_faults(const command_context& c);
// commands_certs.cpp
result<int> make_authority(const command_context& c);
result<int> issue_certificate(const command_context& c);
result<int> show_certificate(const command_context& c);
// commands_launch.cpp
result<int> launch_gang(const command_context& c);
result<int> keep_for_launcher(const command_context& c);
result<int> train_one_rank(const command_context& c);

} // namespace flywheel
