#include "actors/client/commands.hpp"

#include "actors/client/front_door.hpp"
#include "actors/trainer/trial_worker.hpp"
#include "cluster/base/text.hpp"
#include "cluster/journal/state_directory.hpp"
#include "cluster/worker/worker_pool.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

namespace flywheel {
namespace {

using handler = result<int> (*)(const command_context&);

result<int> approve(const command_context& c) { return answer_request(c, true); }
result<int> deny(const command_context& c) { return answer_request(c, false); }
result<int> work(const command_context&) { return serve_worker({}, run_worker_task); }

struct entry {
  std::string_view path;
  handler run;
};
constexpr entry handlers[] = {
    {"run", run_goal},          {"submit", submit_only},    {"plan", show_plan},
    {"watch", follow_goal},     {"goals", list_goals},      {"describe", describe},
    {"why", explain_why},       {"approve", approve},       {"deny", deny},
    {"cancel", cancel_running}, {"models", list_models},    {"rollback", roll_back},
    {"predict", predict},       {"serve", serve_state},     {"data infer", data_infer},
    {"data check", data_check}, {"explain", explain_setting}, {"journal verify", check_journal}, {"journal repair", mend_journal},
    {"journal show", show_journal}, {"doctor", run_doctor}, {"version", print_version},
    {"certs init", make_authority}, {"certs issue", issue_certificate}, {"certs show", show_certificate},
    {"node", run_node}, {"up", start_local_cluster}, {"nodes", list_nodes_of}, {"drain", drain_one}, {"down", end_cluster},
    {"chaos", rehearse_faults},
    {"launch", launch_gang},    {"worker gang-train", train_one_rank}, {"_keep", keep_for_launcher},
    {"slurm render", render_slurm_script}, {"slurm submit", submit_to_slurm}, {"slurm boot", boot_in_slurm}, {"slurm node", work_in_slurm},
    {"_worker", work},
};

result<int> dispatch(const command_line& line, command_context& c) {
  if (line.version_wanted())
    return print_version(c);
  if (auto answered = answer_from_table(line, std::cout, c.colour))
    return std::move(*answered);
  constexpr std::string_view stateless[] = {"_worker", "_keep", "launch", "worker gang-train"};
  if (std::find(std::begin(stateless), std::end(stateless), line.path()) == std::end(stateless)) {
    FLYWHEEL_TRY(c.state, default_state_path(line.text("state")));
  }
  const auto i = std::find_if(std::begin(handlers), std::end(handlers), [&](const entry& e) { return e.path == line.path(); });
  if (i == std::end(handlers))
    return error{errc::internal, "no handler for command " + std::string{line.path()}};
  return i->run(c);
}

} // namespace

std::string user_name() {
  if (const auto* entry = ::getpwuid(::getuid()); entry != nullptr && entry->pw_name != nullptr)
    return entry->pw_name;
  return "uid-" + std::to_string(::getuid());
}

std::vector<std::string> own_program(std::vector<std::string> arguments) {
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  arguments.insert(arguments.begin(), failed ? "/proc/self/exe" : self.string());
  return arguments;
}

int execute(const command_line& line) {
  const bool refused = line.flag("no-color");
  command_context c{line, {}, line.style(), terminal_of(STDOUT_FILENO, refused).colour,
                    terminal_of(STDERR_FILENO, refused).colour};
  const auto code = dispatch(line, c);
  if (code)
    return *code;
  std::cout.flush();
  print_error(std::cerr, code.error(), c.colour_err, c.style);
  return exit_code_of(code.error().code);
}

} // namespace flywheel
