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
// commands_cluster.cpp
result<int> run_node(const command_context& c);
result<int> start_local_cluster(const command_context& c);
result<int> list_nodes_of(const command_context& c);
result<int> drain_one(const command_context& c);
result<int> end_cluster(const command_context& c);
// commands_certs.cpp
result<int> make_authority(const command_context& c);
result<int> issue_certificate(const command_context& c);
result<int> show_certificate(const command_context& c);
// commands_launch.cpp
result<int> launch_gang(const command_context& c);
result<int> keep_for_launcher(const command_context& c);
result<int> train_one_rank(const command_context& c);

} // namespace flywheel
