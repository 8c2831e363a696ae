#include "actors/client/command_table.hpp"

#include <algorithm>

namespace flywheel {
namespace {

using enum value_kind;

constexpr std::string_view goals_section = "From a goal to a model";
constexpr std::string_view look_section = "See what happens and why";
constexpr std::string_view decide_section = "Decide and undo";
constexpr std::string_view use_section = "Use a model";
constexpr std::string_view data_section = "Data and goal files";
constexpr std::string_view cluster_section = "Many machines";
constexpr std::string_view gang_section = "Run programs on many slots";
constexpr std::string_view machine_section = "This machine";

const argument_spec goal_file_argument{"GOAL", goal_file, true, false, "the goal file, YAML or JSON", {}};
const argument_spec override_argument{
    "NAME=VALUE", assignment, false, true, "settings that replace those of the file, e.g. search.budget.trials=10", {}};
const option_spec set_option{
    "set", 0, assignment, "NAME=VALUE", "", "the same as NAME=VALUE after the file; may be given several times", true, false, {}};
const option_spec by_option{
    "by", 0, text, "NAME", "", "who decides; by default the user who is logged in", false, false, {}};

const option_spec cluster_option{"cluster", 0, text, "HOST:PORT", "", "the head of a cluster; default: the process that owns the state folder", false, false, {}};
const option_spec identity_option{"certs", 0, folder, "DIR", "", "with --cluster: your certificate, as 'flywheel certs issue' made it", false, false, {}};
const option_spec node_certs_option{"certs", 0, folder, "DIR", "", "the node's certificate, as 'flywheel certs issue NAME --role node' made it", false, false, {}};

const argument_spec sbatch_argument{"SBATCH_OPTION", text, false, true, "after --: options of sbatch, e.g. -- --nodes=3 --time=2:00:00 --partition=gpu", {}};
const option_spec slurm_approve_option{"approve", 0, flag, "", "", "grant in advance the approvals that the policy lets you grant yourself", false, false, {}};
const option_spec grace_option{"grace", 0, text, "DURATION", "120s", "how long before the time limit the job gives no new work and prepares to end", false, false, {}};
const option_spec stop_after_option{"stop-after", 0, text, "DURATION", "", "do that so long after the start, whatever Slurm says, e.g. 55m", false, false, {}};
const option_spec no_requeue_option{"no-requeue", 0, flag, "", "", "end with exit code 75 then, instead of going back into the queue", false, false, {}};
const option_spec slurm_slots_option{"slots", 0, integer, "N", "", "CPU slots of each node; default: the CPUs that Slurm gave it; 0: none", false, false, {}};
const option_spec join_timeout_option{"join-timeout", 0, text, "DURATION", "35s", "how long a node may take to see the state folder and to join", false, false, {}};

constexpr exit_spec exit_again{75, "not over when the job had to end; the same job again continues it"};
constexpr exit_spec exit_failed{1, "it ran and did not succeed; the report says why"};
constexpr exit_spec exit_not_found{3, "what was named does not exist"};
constexpr exit_spec exit_denied{4, "a rule, an approval or a budget forbids it"};
constexpr exit_spec exit_unreachable{5, "no Flywheel process answers for this state folder"};
constexpr exit_spec exit_waiting{6, "a person must approve first"};

std::vector<command_spec> goal_commands() {
  return {
      {.path = "run",
       .section = goals_section,
       .summary = "Turn a goal file into a served model, here and now",
       .description =
           "Reads the goal, shows the plan, and carries it out with agents in this process and worker processes beside "
           "it: clean the data, search, train, judge, roll out step by step. Every decision is shown with its reason "
           "and can be asked for later with 'flywheel why'.\n\n"
           "Where the policy wants an approval the command waits and says how to approve from another terminal; "
           "--approve grants in advance what the policy lets you grant yourself.\n\n"
           "The same command after a crash or a kill continues the same goal; nothing that was done is done twice. "
           "The first Ctrl-C stops cleanly, a second one at once.",
       .examples = {{"flywheel run examples/churn/goal.yaml", "run the example and report"},
                    {"flywheel run goal.yaml --approve --serve", "approve in advance, go on serving at the end"},
                    {"flywheel run goal.yaml search.budget.trials=10", "change one setting for this run"},
                    {"flywheel run goal.yaml --dry-run", "show the plan and its cost, do nothing"}},
       .arguments = {goal_file_argument, override_argument},
       .options = {{.name = "approve", .help = "grant in advance the approvals that the policy lets you grant yourself"},
                   {.name = "serve", .help = "go on serving and watching the model after the report"},
                   {.name = "detach", .help = "with --serve: after the report leave the server in the background and return"},
                   {.name = "dry-run", .letter = 'n', .help = "only show the plan, as 'flywheel plan' does"},
                   set_option},
       .exits = {exit_failed, exit_not_found, exit_denied, exit_waiting},
       .also = {"start", "train", "execute"}},
      {.path = "submit",
       .section = goals_section,
       .summary = "Hand a goal to the Flywheel that owns the state folder, and return",
       .description = "Checks the goal and hands it to the process that owns the state folder ('flywheel serve', or a "
                      "running 'flywheel run'). It returns when the goal is safely in the journal, with its id. "
                      "Submitting the same goal again is answered with the same id.",
       .examples = {{"flywheel submit goal.yaml", "prints the id of the goal"},
                    {"flywheel submit goal.yaml -o name", "prints only the id, for scripts"}},
       .arguments = {goal_file_argument, override_argument},
       .options = {{.name = "approve", .help = "grant in advance the approvals that the policy lets you grant yourself"}, set_option, cluster_option, identity_option},
       .exits = {exit_not_found, exit_denied, exit_unreachable},
       .also = {"apply", "create", "queue"}},
      {.path = "plan",
       .section = goals_section,
       .summary = "Show the steps, resources, cost and approvals of a goal without running it",
       .description = "Reads and checks the goal and its data, and prints the plan: each step, what it waits for, the "
                      "slots and time it may use, and who must approve what. Nothing is started or written.",
       .examples = {{"flywheel plan goal.yaml", "the plan as a table"},
                    {"flywheel plan goal.yaml -o json", "the plan for a program"}},
       .arguments = {goal_file_argument, override_argument},
       .options = {set_option},
       .exits = {exit_not_found},
       .also = {"dry-run", "preview", "validate", "lint"}},
      {.path = "watch",
       .section = look_section,
       .summary = "Follow a goal live: steps, trials, decisions",
       .description = "Prints what happens to a goal as it happens, until the goal ends. Without a name it follows the "
                      "newest goal that has not ended. Watching changes nothing; Ctrl-C stops watching, not the goal. With --cluster, "
                      "from any machine: a head that goes away is waited for, and watching goes on where it was.",
       .examples = {{"flywheel watch", "follow the newest goal"},
                    {"flywheel watch churn", "follow the goal named churn"}},
       .arguments = {{"GOAL", goal, false, false, "id or name of the goal; default: the newest one", {}}},
       .options = {cluster_option, identity_option},
       .exits = {{1, "the goal failed"}, exit_not_found, exit_waiting, exit_unreachable},
       .also = {"follow", "attach", "tail"}},
      {.path = "goals",
       .section = look_section,
       .summary = "List the goals and how far each has come",
       .description = "One line a goal: id, name, state, current step, best metric, age. Read from the journal, so it works "
                      "whether or not a Flywheel is running.",
       .examples = {{"flywheel goals", "a table"}, {"flywheel goals -o name", "only the ids"}},
       .options = {cluster_option, identity_option},
       .exits = {exit_unreachable},
       .also = {"list", "ls", "ps", "status", "get", "jobs"}},
      {.path = "describe",
       .section = look_section,
       .summary = "Everything about one goal or model",
       .description = "For a goal: its settings, steps, trials, budget, approvals and result. For a model: its versions, "
                      "lineage (data, code, settings, trial), metrics and rollout.",
       .examples = {{"flywheel describe churn", "the goal named churn"},
                    {"flywheel describe churn/v1", "a model version with its lineage"}},
       .arguments = {{"NAME", goal, true, false, "a goal (id or name) or a model (churn, churn/v3)", {}}},
       .options = {{.name = "cluster", .kind = text, .value_name = "HOST:PORT", .help = "the head of a cluster: for goals; models are described on the head's machine"}, identity_option},
       .exits = {exit_not_found, exit_unreachable},
       .also = {"show", "info", "inspect"}},
      {.path = "why",
       .section = look_section,
       .summary = "Say why something was done, or not done",
       .description = "Answers from the journal, in sentences: what was decided about a goal, a step or a model, on what "
                      "evidence, and what was considered and dropped. --all also tells the small decisions.",
       .examples = {{"flywheel why churn", "the decisions of a goal"},
                    {"flywheel why churn/v1", "why this model version was made, judged and rolled out"},
                    {"flywheel why churn --all", "every decision with its evidence"}},
       .arguments = {{"SUBJECT", goal, true, false, "a goal, a step, a trial or a model", {}}},
       .options = {{.name = "all", .letter = 'a', .help = "every decision, not only those that shaped the result"}, cluster_option, identity_option},
       .exits = {exit_not_found, exit_unreachable},
       .also = {"reason", "reasons", "log", "logs", "history"}},
  };
}

std::vector<command_spec> decision_commands() {
  return {
      {.path = "approve",
       .section = decide_section,
       .summary = "Grant an approval that a goal waits for",
       .description = "The approval is bound to the exact plan it was asked for, is used once, and expires. Who may grant "
                      "it stands in the goal's policy. 'flywheel goals' shows what waits.",
       .examples = {{"flywheel approve a-01hf7zk3q8-4fj2x9a1", "approve as the user who is logged in"},
                    {"flywheel approve a-01hf7zk3q8-4fj2x9a1 --by ana", "approve as ana"}},
       .arguments = {{"ID", text, true, false, "the id of the request, as printed where it waits", {}}},
       .options = {by_option, cluster_option, identity_option},
       .exits = {exit_not_found, exit_denied, exit_unreachable},
       .also = {"accept", "grant", "allow", "ok"}},
      {.path = "deny",
       .section = decide_section,
       .summary = "Refuse an approval that a goal waits for",
       .description = "The step that asked is not done; the goal ends or goes another way. The reason is kept in the "
                      "journal and shown by 'flywheel why'.",
       .examples = {{"flywheel deny a-01hf7zk3q8-4fj2x9a1 --reason 'not before the audit'", "refuse, and say why"}},
       .arguments = {{"ID", text, true, false, "the id of the request, as printed where it waits", {}}},
       .options = {{.name = "reason", .kind = text, .value_name = "TEXT", .help = "why, in a sentence", .required = true}, by_option, cluster_option, identity_option},
       .exits = {exit_not_found, exit_denied, exit_unreachable},
       .also = {"reject", "refuse"}},
      {.path = "cancel",
       .section = decide_section,
       .summary = "Stop a goal; what it already made stays",
       .description = "Stops the goal's trials and steps cleanly. Snapshots, checkpoints and published models stay. A model "
                      "that is being rolled out goes back to its predecessor.",
       .examples = {{"flywheel cancel churn", "stop the goal named churn"}},
       .arguments = {{"GOAL", goal, true, false, "id or name of the goal", {}}},
       .options = {{.name = "reason", .kind = text, .value_name = "TEXT", .help = "why, kept in the journal"}, cluster_option, identity_option},
       .exits = {exit_not_found, exit_denied, exit_unreachable},
       .also = {"stop", "kill", "abort", "delete", "rm"}},
      {.path = "models",
       .section = look_section,
       .summary = "List the models, or the versions of one model",
       .description = "Without a name: each model, its champion, and where it is served. With a name: all its versions, "
                      "newest first, with metric, aliases and lineage.",
       .examples = {{"flywheel models", "all models"}, {"flywheel models churn", "the versions of churn"}},
       .arguments = {{"NAME", model, false, false, "the model's name", {}}},
       .exits = {exit_not_found},
       .also = {"versions", "registry"}},
      {.path = "rollback",
       .section = decide_section,
       .summary = "Put an earlier model version back into production",
       .description = "Moves the champion alias and all traffic to the earlier version, without failing a request. Without "
                      "--to it is the champion before the present one.",
       .examples = {{"flywheel rollback churn", "to the champion before"},
                    {"flywheel rollback churn --to v2", "to version 2"}},
       .arguments = {{"MODEL", model, true, false, "the model's name", {}}},
       .options = {{.name = "to", .kind = text, .value_name = "VERSION", .help = "the version to go back to, e.g. v2"}, by_option},
       .exits = {exit_not_found, exit_denied, exit_unreachable},
       .also = {"undo", "revert"}},
  };
}

std::vector<command_spec> cluster_commands() {
  return {
      {.path = "up",
       .section = cluster_section,
       .summary = "Start a cluster of several node processes on this machine",
       .description = "Makes certificates where there are none, starts a head, which owns the state folder, and other nodes that join it, "
                      "all in the background, and waits until they work. Goals are then submitted to it as to a single process.",
       .examples = {{"flywheel up --local 3", "a head and two nodes"}, {"flywheel up --local 2 --slots 4", "each with 4 CPU slots"}},
       .options = {{.name = "local", .kind = integer, .value_name = "N", .default_value = "3", .help = "how many nodes, the head among them"},
                   {.name = "slots", .kind = integer, .value_name = "N", .help = "CPU slots of each node; default: the cores, divided"}},
       .exits = {exit_failed},
       .also = {"cluster", "boot", "start-cluster"}},
      {.path = "node",
       .section = cluster_section,
       .summary = "Run one node of a cluster: its head, or one that joins it",
       .description = "The head owns the state folder with the journal, and runs the agents. Every other node runs the trials that the head "
                      "gives it, in worker processes; it needs the head's address and a certificate of its own. If it sees the head's state "
                      "folder under the same path (a shared file system) it works there; otherwise the files of each trial come over the "
                      "network, into the node's own state folder, and go back.\n\n"
                      "A node that loses its head stops its work before the head gives it to others, and joins again by itself. SIGTERM ends "
                      "a node cleanly: the head gives its work to others at once.",
       .examples = {{"flywheel node --head --listen 0.0.0.0:7400 --certs head", "the head, for all addresses of this machine"},
                    {"flywheel node --join head.lab:7400 --certs node1 --state /var/lib/flywheel/node1", "a node that works for it"}},
       .options = {{.name = "head", .help = "be the head"},
                   {.name = "join", .kind = text, .value_name = "HOST:PORT", .help = "work for the head that listens there"},
                   node_certs_option,
                   {.name = "listen", .kind = text, .value_name = "HOST:PORT", .default_value = "127.0.0.1:0",
                    .help = "where the head listens; host * for every address, port 0 for any free one"},
                   {.name = "data-port", .kind = integer, .value_name = "N", .help = "port of the head for the files of nodes that do not share its own; default: any free one"},
                   {.name = "cache", .kind = text, .value_name = "SIZE", .help = "what a node keeps at most of the files it fetched, e.g. 100GiB; default: 20GiB"},
                   {.name = "slots", .kind = integer, .value_name = "N", .help = "CPU slots this node offers; default: one a core; 0: none"}},
       .exits = {exit_failed, exit_not_found, exit_denied},
       .also = {"agent", "join", "head", "serve-cluster"}},
      {.path = "nodes",
       .section = cluster_section,
       .summary = "List the nodes of a cluster, and what they do",
       .description = "Each node with its state (alive, suspect, draining, dead, left) and its slots. With --verbose also what waits for a "
                      "slot, and what would let it run.",
       .examples = {{"flywheel nodes", "of the head that owns the state folder"},
                    {"flywheel nodes --cluster head.lab:7400 --certs maria", "of a head elsewhere"}},
       .options = {cluster_option, identity_option},
       .exits = {exit_not_found, exit_denied, exit_unreachable},
       .also = {"cluster-info", "sinfo", "members"}},
      {.path = "drain",
       .section = cluster_section,
       .summary = "Give a node no new work",
       .description = "What runs there goes on to its end. The node can then be ended without loss. It works again when it joins anew.",
       .examples = {{"flywheel drain node2", "before node2 is serviced"}},
       .arguments = {{"NODE", text, true, false, "a node, as 'flywheel nodes' lists it", {}}},
       .options = {cluster_option, identity_option},
       .exits = {exit_not_found, exit_denied, exit_unreachable},
       .also = {"cordon", "evict"}},
      {.path = "down",
       .section = cluster_section,
       .summary = "End all nodes of a cluster, and its head",
       .description = "Goals stop where they are and go on when the cluster is started again.",
       .examples = {{"flywheel down", "the cluster whose head owns the state folder"}},
       .options = {cluster_option, identity_option},
       .exits = {exit_failed, exit_denied, exit_unreachable},
       .also = {"shutdown", "halt", "teardown"}},
      {.path = "slurm submit",
       .section = cluster_section,
       .summary = "Let a Slurm job of any number of nodes work for a goal",
       .description = "Checks the goal, writes the batch script into the state folder, and hands it to sbatch. The job's first node is the head "
                      "of a cluster, every other one works for it; the state folder must be on a file system that all of them share.\n\n"
                      "Before the time limit the job gives no new work, waits for what runs, ends in order and goes back into the queue; the "
                      "next allocation continues the same goal. With --wait the exit code is that of the job.",
       .examples = {{"flywheel slurm submit goal.yaml --approve -- --nodes=3 --cpus-per-task=8 --time=2:00:00", "three nodes, two hours at a time"},
                    {"flywheel slurm submit goal.yaml --wait -- -N 2 -p gpu --gres=gpu:4", "wait for the job; its exit code is ours"}},
       .arguments = {goal_file_argument, sbatch_argument},
       .options = {slurm_approve_option, {.name = "wait", .letter = 'w', .help = "wait for the end of the job; submit it again if it had to end and could not requeue itself"},
                   grace_option, stop_after_option, no_requeue_option, slurm_slots_option, join_timeout_option, set_option},
       .exits = {exit_failed, exit_not_found, exit_denied, exit_waiting, exit_again},
       .also = {"sbatch", "batch"}},
      {.path = "slurm render",
       .section = cluster_section,
       .summary = "Print the batch script that 'flywheel slurm submit' would submit",
       .description = "Nothing is written or submitted. The script holds the goal; it needs this program and the state folder, under the same "
                      "paths on every node.",
       .examples = {{"flywheel slurm render goal.yaml --approve -- --nodes=3 --time=2:00:00 > goal.sbatch", "to be submitted with: sbatch goal.sbatch"}},
       .arguments = {goal_file_argument, sbatch_argument},
       .options = {slurm_approve_option, grace_option, stop_after_option, no_requeue_option, slurm_slots_option, join_timeout_option, set_option},
       .exits = {exit_not_found},
       .also = {"slurm script"}},
      {.path = "slurm boot",
       .section = cluster_section,
       .summary = "In a batch job of Slurm: boot a cluster on its nodes and work for a goal",
       .description = "What the batch script runs (see deploy/slurm/flywheel.sbatch). SIGUSR1 says that the time limit is near; SIGTERM ends the "
                      "cluster in order. Everything that was started ends with the job.",
       .examples = {{"flywheel slurm boot goal.yaml --approve --state /shared/state", "as the last line of a batch script"}},
       .arguments = {{"GOAL", goal_file, true, false, "the goal file, YAML or JSON; '-' is standard input", {}}, override_argument},
       .options = {slurm_approve_option, grace_option, stop_after_option, no_requeue_option, slurm_slots_option, join_timeout_option, set_option},
       .exits = {exit_failed, exit_not_found, exit_denied, exit_unreachable, exit_waiting, exit_again}},
      {.path = "slurm node",
       .section = cluster_section,
       .summary = "One node of a Slurm job's cluster; started by 'flywheel slurm boot'",
       .description = "Waits until it sees the state folder, makes its certificate, and works for the head.",
       .options = {{.name = "join", .kind = text, .value_name = "HOST:PORT", .help = "the head's address, as it stands in the state folder", .required = true},
                   slurm_slots_option, join_timeout_option},
       .hidden = true},
  };
}

std::vector<command_spec> use_commands() {
  return {
      {.path = "predict",
       .section = use_section,
       .summary = "Ask a model for a prediction",
       .description = "Sends one row (NAME=VALUE pairs) or a file of rows to the model that is being served, and prints the "
                      "predictions. If nothing serves the model it is loaded from the state folder and asked here.",
       .examples = {{"flywheel predict churn total_day_minutes=310 international_plan=yes", "one row; what is left out is missing"},
                    {"flywheel predict churn --input customers.csv", "a file of rows: CSV, JSONL or JSON"},
                    {"head -1 rows.jsonl | flywheel predict churn --input - -o json", "rows from standard input"}},
       .arguments = {{"MODEL", model, true, false, "the model's name, or a version such as churn/v2", {}},
                     {"NAME=VALUE", assignment, false, true, "the row: a column's name and its value", {}}},
       .options = {{.name = "input", .letter = 'i', .kind = file, .value_name = "FILE", .help = "rows as CSV, JSONL or JSON; '-' is standard input"}},
       .exits = {exit_failed, exit_not_found, exit_unreachable},
       .also = {"infer", "score", "query"}},
      {.path = "serve",
       .section = use_section,
       .summary = "Own the state folder: serve its models, watch them, run submitted goals",
       .description = "Serves the champion of every model over HTTP, watches for drift, continues goals that had not ended, "
                      "and takes goals from 'flywheel submit'. It runs until it is stopped: with Ctrl-C, or with "
                      "'flywheel serve --stop' from another terminal.",
       .examples = {{"flywheel serve", "serve in this terminal"},
                    {"flywheel serve --detach", "serve in the background"},
                    {"flywheel serve --stop", "stop the one that runs"}},
       .options = {{.name = "detach", .help = "go on in the background; return when the models are served"},
                   {.name = "stop", .help = "stop the process that owns the state folder, cleanly"}},
       .exits = {exit_failed, exit_denied, exit_unreachable},
       .also = {"server", "daemon"}},
      {.path = "data infer",
       .section = data_section,
       .summary = "Draft a data contract from a file",
       .description = "Reads the whole file (CSV or JSONL, also gzip or zstd) in bounded memory and prints a contract: type, "
                      "null policy, range, values and uniqueness of each column. It is a draft for a person to correct.",
       .examples = {{"flywheel data infer customers.csv > contract.yaml", "write a draft"}},
       .arguments = {{"FILE", file, true, false, "the data file", {}}},
       .exits = {exit_not_found}},
      {.path = "data check",
       .section = data_section,
       .summary = "Check a file against a contract",
       .description = "Reports how many rows keep the contract, and for those that do not: row, column, rule and value. "
                      "Nothing is changed.",
       .examples = {{"flywheel data check customers.csv --contract contract.yaml", "a report"},
                    {"flywheel data check customers.csv --contract goal.yaml -o json", "a goal file holds a contract too"}},
       .arguments = {{"FILE", file, true, false, "the data file", {}}},
       .options = {{.name = "contract", .letter = 'c', .kind = goal_file, .value_name = "FILE", .help = "a contract, or a goal file with one", .required = true}},
       .exits = {{1, "rows break the contract"}, exit_not_found},
       .also = {"check"}},
      {.path = "explain",
       .section = data_section,
       .summary = "Explain a setting of the goal file",
       .description = "Meaning, type, default, bounds and an example of one setting, or of a group of them.",
       .examples = {{"flywheel explain goal", "all settings at a glance"},
                    {"flywheel explain goal.search.budget", "one group"}},
       .arguments = {{"PATH", text, true, false, "the setting, e.g. goal.search.budget", {}}},
       .exits = {exit_not_found},
       .also = {"docs", "schema"}},
      {.path = "journal verify",
       .section = machine_section,
       .summary = "Check that the journal is whole and unaltered",
       .description = "Walks the hash chain from the first event to the last, and names the first one that does not fit.",
       .examples = {{"flywheel journal verify", "of the default state folder"}},
       .exits = {{1, "the chain is broken; the first bad event is named"}, exit_not_found},
       .also = {"verify", "fsck", "audit"}},
      {.path = "journal repair",
       .section = machine_section,
       .summary = "Keep the whole part of a damaged journal, and set the damaged file aside",
       .description = "Copies the entries up to the last whole one (or up to --keep) into a new journal and moves the damaged files "
                      "into a folder beside it; nothing is deleted. What the lost entries recorded is done again or asked "
                      "for again: effects are looked up by their keys first.",
       .examples = {{"flywheel journal repair", "keep everything before the first bad entry"},
                    {"flywheel journal repair --keep 1200", "keep entries 1 to 1200"}},
       .options = {{.name = "keep", .letter = 'k', .kind = integer, .value_name = "N", .default_value = "0", .help = "the last entry to keep; default: the last whole one"}},
       .exits = {exit_failed, exit_not_found},
       .also = {"repair"}},
      {.path = "journal show",
       .section = machine_section,
       .summary = "Print events of the journal",
       .description = "The newest events, oldest of them first. With -o json one object holds everything that was recorded.",
       .examples = {{"flywheel journal show", "the newest 50 events"},
                    {"flywheel journal show --goal churn --limit 0", "all events of one goal"}},
       .options = {{.name = "goal", .letter = 'g', .kind = goal, .value_name = "GOAL", .help = "only events of this goal"},
                   {.name = "limit", .letter = 'l', .kind = integer, .value_name = "N", .default_value = "50", .help = "at most N events; 0 for all"}, cluster_option, identity_option},
       .exits = {exit_not_found},
       .also = {"events"}},
      {.path = "certs init",
       .section = machine_section,
       .summary = "Make the certificate authority of a cluster",
       .description = "Makes ca.pem and ca.key. Whoever can read ca.key can make a certificate for anybody in any role: keep it on one "
                      "machine, and keep a copy where only administrators get at it.",
       .examples = {{"flywheel certs init lab", "the authority of the cluster lab, in the state folder"},
                    {"flywheel certs init lab --dir /root/lab-ca", "in a folder of its own"}},
       .arguments = {{"CLUSTER", text, true, false, "the cluster's name: letters a to z, digits, dots, dashes", {}}},
       .options = {{.name = "dir", .letter = 'd', .kind = folder, .value_name = "DIR", .help = "where it is kept; default: certs in the state folder"},
                   {.name = "days", .kind = integer, .value_name = "N", .default_value = "3650", .help = "how long it is valid"}},
       .exits = {{1, "there is one already"}},
       .also = {"ca", "tls"}},
      {.path = "certs issue",
       .section = machine_section,
       .summary = "Make a certificate for a node or a user, with its role",
       .description = "Makes NAME.pem and NAME.key, and puts ca.pem beside them. The role is in the certificate and cannot be changed "
                      "without the authority: node, for a node process; viewer looks; submitter also submits and cancels goals; "
                      "approver also approves and rolls back; admin also drains nodes and ends the cluster.",
       .examples = {{"flywheel certs issue node1 --role node --host node1.lab --host 10.0.0.7", "a node and how it is dialled"},
                    {"flywheel certs issue maria --role approver --days 90", "a person who may approve, for three months"}},
       .arguments = {{"NAME", text, true, false, "the node's or user's name", {}}},
       .options = {{.name = "role", .letter = 'r', .kind = choice, .value_name = "ROLE", .help = "what it may do", .required = true,
                    .choices = {"node", "viewer", "submitter", "approver", "admin"}},
                   {.name = "host", .kind = text, .value_name = "HOST", .help = "a DNS name or address a node is dialled by", .repeatable = true},
                   {.name = "days", .kind = integer, .value_name = "N", .default_value = "365", .help = "how long it is valid, at most as long as the authority"},
                   {.name = "to", .letter = 't', .kind = folder, .value_name = "DIR", .help = "where the files go; default: a folder named NAME"},
                   {.name = "dir", .letter = 'd', .kind = folder, .value_name = "DIR", .help = "where the authority is; default: certs in the state folder"}},
       .exits = {{4, "others can read the authority's key, or its own time is over"}, exit_not_found}},
      {.path = "certs show",
       .section = machine_section,
       .summary = "Check a certificate and say whom it is about",
       .description = "Checks it against ca.pem beside it, or --ca, and its time.",
       .examples = {{"flywheel certs show node1/node1.pem", "name, role, validity"}},
       .arguments = {{"FILE", file, true, false, "a certificate in PEM form", {}}},
       .options = {{.name = "ca", .kind = file, .value_name = "FILE", .help = "the authority's certificate; default: ca.pem beside FILE"}},
       .exits = {{4, "the authority does not vouch for it"}, exit_not_found}},
      {.path = "doctor",
       .section = machine_section,
       .summary = "Check this machine and the state folder, and say what to mend",
       .description = "Looks at processors, memory, disk and how fast it syncs, GPUs, sandboxing, limits, clock and locale. "
                      "Each finding says what was seen and, where something is amiss, what to do.",
       .examples = {{"flywheel doctor", "a table of findings"}, {"flywheel doctor -o json", "for a program"}},
       .exits = {{1, "a check failed"}},
       .also = {"diagnose", "health", "check-health"}},
      {.path = "version",
       .section = machine_section,
       .summary = "Print the version",
       .description = "The version of the program, the compiler it was built with, and the format versions it reads.",
       .examples = {{"flywheel version", "for people"}, {"flywheel version -o json", "for a program"}}},
      {.path = "completion",
       .section = machine_section,
       .summary = "Print a completion script for your shell",
       .description = "Completes commands, options, files, and the names of goals and models.",
       .examples = {{"source <(flywheel completion bash)", "for this bash"},
                    {"flywheel completion zsh > ~/.zfunc/_flywheel", "for zsh; ~/.zfunc must be in fpath"},
                    {"flywheel completion fish > ~/.config/fish/completions/flywheel.fish", "for fish"}},
       .arguments = {{"SHELL", choice, true, false, "bash, zsh or fish", {"bash", "zsh", "fish"}}}},
      {.path = "man",
       .section = machine_section,
       .summary = "Print a manual page, or write all of them into a folder",
       .description = "Prints the page in roff, for 'man -l -'. With --write all pages are written as FOLDER/man1/*.1.",
       .examples = {{"flywheel man run | man -l -", "read the page of a command"},
                    {"flywheel man --write ~/.local/share/man", "install all pages for yourself"}},
       .arguments = {{"COMMAND", command, false, true, "a command, e.g. run or data check; default: the program", {}}},
       .options = {{.name = "write", .kind = folder, .value_name = "FOLDER", .help = "write all pages there"}},
       .exits = {exit_not_found},
       .also = {"manual", "manpage"}},
      {.path = "help",
       .section = machine_section,
       .summary = "Help on a command; the same as --help after it",
       .description = "Without a command: the list of commands.",
       .examples = {{"flywheel help run", "the same as flywheel run --help"}},
       .arguments = {{"COMMAND", command, false, true, "a command, e.g. run or data check", {}}},
       .exits = {exit_not_found},
       .also = {"usage"}},
      {.path = "_worker",
       .section = machine_section,
       .summary = "A worker process; started by Flywheel, not by people",
       .description = "Speaks the worker protocol (docs/worker-protocol.md) with the process that started it.",
       .arguments = {{"ARGUMENT", text, false, true, "as handed over by the worker pool", {}}},
       .hidden = true,
       .raw = true},
  };
}

std::vector<command_spec> chaos_commands() {
  return {
      {.path = "chaos",
       .section = cluster_section,
       .summary = "Rehearse faults on this cluster, and judge whether its promises were kept",
       .description =
           "Strikes the cluster as FILE says, in Chaos Mesh's words (docs/chaos.md): kills and freezes nodes, workers, ranks and agents, cuts and "
           "slows links, fills the disk, burns CPU time, sets the head's clock wrong. It strikes only processes of this user on this machine that "
           "hold this cluster's state folders, and undoes everything, also when it is itself interrupted or killed.\n\n"
           "What cannot be done here is refused, with what is missing, before anything starts. The seed is printed first; the same seed, on "
           "the same population, strikes the same.\n\n"
           "Afterwards goals have the file's 'settle' time to end. Then the promises I1 to I15 are judged from the journal, the registry and what is left "
           "behind: kept, broken (with the entries that show it) or not judged (and why). The verdict is recorded in the journal, where a goal's "
           "policy.release.require_chaos looks for it, and a report is written.",
       .examples = {{"flywheel chaos examples/chaos.yaml", "rehearse what the file says on the cluster of the state folder"},
                    {"flywheel chaos nightly.yaml --seed 7", "the strokes of an earlier rehearsal again"},
                    {"flywheel chaos nightly.yaml --dry-run", "what would be struck, if everybody stays where they are"}},
       .arguments = {{"FILE", file, true, false, "the faults, as YAML or JSON", {}}},
       .options = {{.name = "seed", .kind = integer, .value_name = "N", .help = "where all chance comes from; default: another one each time"},
                   {.name = "dry-run", .help = "check, and print the strokes; strike nobody"},
                   {.name = "yes", .letter = 'y', .help = "strike a cluster that 'flywheel up --local' did not start, without asking"},
                   {.name = "report", .kind = file, .value_name = "FILE", .help = "where the report goes; default: log in the state folder"}},
       .exits = {{1, "a promise was broken, it did not become quiet, or nobody was struck"}, {2, "the file is wrong, or something in it cannot be done here"}, {4, "nobody said yes"},
                 exit_unreachable, {130, "stopped by Ctrl-C (143: by SIGTERM); everything is undone"}},
       .also = {"rehearse", "rehearsal", "inject", "faults"}},
  };
}

std::vector<command_spec> gang_commands() {
  return {
      {.path = "launch",
       .section = gang_section,
       .summary = "Run a program as a gang of ranks; on a failure stop all, say why, restart",
       .description =
           "Starts COMMAND once for each rank, with the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, "
           "MASTER_PORT, ...), so that a program in any language, and any script written for torchrun, runs unchanged. What the "
           "ranks print is shown with [RANK] in front.\n\n"
           "The ranks live and die together. When one is killed, ends with an error, runs out of memory, hangs or is frozen, all are "
           "killed at once with everything they started, the one cause is named (rank, host, slot, last step, last collective), and "
           "they are started again, at most --restarts times. The same failure at the same step is not repeated for ever. When "
           "this command itself is killed, also with signal 9, nothing is left running.\n\n"
           "A rank that writes its step to its board ($FLYWHEEL_RANK_BOARD, see docs/gangs.md) is watched for hangs. With --checkpoint "
           "each attempt gets a number that grows ($FLYWHEEL_ATTEMPT), and sharded checkpoints of older attempts are refused.\n\n"
           "With --on-cluster the gang is handed to the cluster whose head owns the state folder (or is named with --cluster). It gets "
           "all its slots on as many nodes as needed, or waits without holding any ('flywheel why GANG' says for what), and goes on from "
           "its newest checkpoint on other slots when a node or the head is lost. Ctrl-C cancels it, as it ends a gang here; when this "
           "command is killed, or with --detach, the gang goes on, and the same command with the same --name follows it again. "
           "Ranks are started in this folder, with the environment of their node and what --env names.\n\n"
           "The exit code is that of the rank that is the cause, or 128 + its signal. With -o json every event is one line of JSON "
           "on standard output, and the ranks' output goes to standard error.",
       .examples = {{"flywheel launch --ranks 2 -- python train.py --epochs 3", "two ranks of a script written for torchrun"},
                    {"flywheel launch --ranks 4 --gpus 0,1,2,3 -- python train.py", "each rank sees one GPU, as device 0"},
                    {"flywheel launch --ranks 2 --checkpoint /tmp/c -- flywheel worker gang-train", "the built-in training, which resumes to the bit"},
                    {"flywheel launch --on-cluster --ranks 8 --slot gpu --checkpoint /shared/c -- python train.py", "on eight GPUs of the cluster"}},
       .arguments = {{"COMMAND", text, true, true, "the program of a rank and its arguments, after --", {}}},
       .options = {{.name = "ranks", .letter = 'n', .kind = integer, .value_name = "N", .default_value = "1", .help = "how many, all on this machine or over the cluster"},
                   {.name = "restarts", .letter = 'r', .kind = integer, .value_name = "K", .default_value = "3", .help = "at most so many restarts"},
                   {.name = "step-timeout", .kind = text, .value_name = "D",
                    .help = "a step that takes longer is hung, e.g. 30s; default: 10 times what was learnt, at least 10s; 0s: never look"},
                   {.name = "start-timeout", .kind = text, .value_name = "D",
                    .help = "to the first step, e.g. 10m; default: 5m, and only where a rank reports steps; 0s: for ever"},
                   {.name = "checkpoint", .letter = 'c', .kind = folder, .value_name = "DIR",
                    .help = "the folder of sharded checkpoints, given to the ranks as $FLYWHEEL_CHECKPOINT and fenced"},
                   {.name = "memory", .kind = text, .value_name = "SIZE", .help = "what each rank may allocate, e.g. 8GiB"},
                   {.name = "gpus", .kind = text, .value_name = "LIST", .help = "one device for each rank: its CUDA_VISIBLE_DEVICES"},
                   {.name = "on-cluster", .help = "over the nodes of the cluster whose head owns the state folder, not on this machine"},
                   {.name = "name", .kind = text, .value_name = "NAME", .help = "on a cluster: what it is called; the same order again follows it"},
                   {.name = "priority", .kind = text, .value_name = "N", .default_value = "0",
                    .help = "on a cluster: larger goes first, and may have smaller ones stop and go on later"},
                   {.name = "time", .kind = text, .value_name = "D",
                    .help = "on a cluster: how long its attempts may hold slots together, reserved in advance; default: 7d"},
                   {.name = "slot", .kind = choice, .value_name = "KIND", .default_value = "cpu", .help = "on a cluster: what each rank gets", .choices = {"cpu", "gpu"}},
                   {.name = "env", .kind = text, .value_name = "NAME[=VALUE]",
                    .help = "on a cluster: a variable for the ranks; several times; it is recorded, so no secrets", .repeatable = true},
                   {.name = "detach", .help = "on a cluster: return when it is safely ordered, with its name"},
                   cluster_option, identity_option},
       .exits = {{1, "hung, frozen or never came up; or the launch itself failed"},
                 {4, "a checkpoint folder or program may not be used"},
                 {127, "the program could not be started"},
                 {130, "stopped by Ctrl-C (143: by SIGTERM)"}},
       .also = {"torchrun", "mpirun", "srun", "gang"}},
      {.path = "worker gang-train",
       .section = gang_section,
       .summary = "One rank of the built-in training: a small transformer, data parallel",
       .description = "Trains a transformer of 360,000 parameters on data made by a formula, on CPUs, and prints the final loss. It is a program "
                      "to try 'flywheel launch' with: killed at any step, it goes on from its newest checkpoint and ends with the same "
                      "loss to the bit. Asked to stop (SIGTERM) it saves a checkpoint first. It must be started by 'flywheel launch'.",
       .examples = {{"flywheel worker gang-train --steps 500", "as a rank: put 'flywheel launch --ranks 2 --checkpoint DIR --' before it"}},
       .options = {{.name = "steps", .kind = integer, .value_name = "N", .default_value = "200", .help = "optimiser steps"},
                   {.name = "every", .kind = integer, .value_name = "N", .default_value = "10", .help = "steps between checkpoints; 0: none"},
                   {.name = "seed", .kind = integer, .value_name = "N", .default_value = "1", .help = "of the initial weights"},
                   {.name = "sequences", .kind = integer, .value_name = "N", .default_value = "8", .help = "in a batch, over all ranks"},
                   {.name = "length", .kind = integer, .value_name = "N", .default_value = "32", .help = "tokens in a sequence, at most 64"},
                   {.name = "width", .kind = integer, .value_name = "N", .default_value = "128", .help = "of the transformer, a multiple of 8"},
                   {.name = "layers", .kind = integer, .value_name = "N", .default_value = "2", .help = "of the transformer"}},
       .exits = {exit_failed}},
      {.path = "_keep",
       .section = machine_section,
       .summary = "The keeper of a gang's ranks; started by Flywheel, not by people",
       .description = "Starts and reaps the ranks of 'flywheel launch', and ends them when that is gone.",
       .arguments = {{"ARGUMENT", text, false, true, "a folder to remove at the end", {}}},
       .hidden = true,
       .raw = true},
  };
}

std::vector<command_spec> build_table() {
  std::vector<command_spec> table;
  for (auto& part : {goal_commands(), decision_commands(), cluster_commands(), use_commands(), gang_commands(), chaos_commands()})
    table.insert(table.end(), part.begin(), part.end());
  constexpr std::string_view order[] = {goals_section, look_section, decide_section, use_section, data_section, cluster_section, gang_section, machine_section};
  std::stable_sort(table.begin(), table.end(), [&](const command_spec& a, const command_spec& b) {
    return std::find(std::begin(order), std::end(order), a.section) < std::find(std::begin(order), std::end(order), b.section);
  });
  return table;
}

} // namespace

const std::vector<command_spec>& command_table() {
  static const std::vector<command_spec> table = build_table();
  return table;
}

const std::vector<option_spec>& global_options() {
  static const std::vector<option_spec> options{
      {.name = "state", .letter = 's', .kind = folder, .value_name = "DIR",
       .help = "where the cluster lives; default $FLYWHEEL_STATE, else $XDG_STATE_HOME/flywheel, else ~/.local/state/flywheel"},
      {.name = "output", .letter = 'o', .kind = choice, .value_name = "FORMAT", .default_value = "table",
       .help = "table, json, yaml or name", .choices = {"table", "json", "yaml", "name"}},
      {.name = "quiet", .letter = 'q', .help = "no progress and no decisions on standard error, only results and errors"},
      {.name = "verbose", .letter = 'v', .help = "also tell details"},
      {.name = "no-color", .help = "no colours; also with $NO_COLOR"},
      {.name = "help", .letter = 'h', .help = "help on the program, or on the command it stands with"},
      {.name = "version", .letter = 'V', .help = "print the version"},
  };
  return options;
}

const std::vector<exit_spec>& exit_codes() {
  static const std::vector<exit_spec> codes{
      {0, "done"},
      {1, "failed: it ran and did not succeed"},
      {2, "bad input: a command line, goal file or data file is wrong"},
      {3, "not found: what was named does not exist"},
      {4, "denied: a rule, an approval or a budget forbids it"},
      {5, "unreachable: no Flywheel process answers"},
      {6, "waiting: a person must approve first"},
      {130, "ended by a second Ctrl-C (143: a second SIGTERM)"},
  };
  return codes;
}

const std::vector<example_spec>& environment_variables() {
  static const std::vector<example_spec> variables{
      {"FLYWHEEL_STATE", "where the cluster lives, if --state is not given"},
      {"XDG_STATE_HOME", "its folder flywheel is the state folder, if neither of the two is given"},
      {"NO_COLOR", "if set and not empty: no colours"},
      {"CLICOLOR_FORCE", "if set and not 0: colours even where the output is no terminal"},
      {"COLUMNS", "width of the terminal, where it cannot be asked for"},
  };
  return variables;
}

const command_spec* find_command(std::string_view path) {
  const auto& table = command_table();
  const auto i = std::find_if(table.begin(), table.end(), [&](const command_spec& c) { return c.path == path; });
  return i == table.end() ? nullptr : &*i;
}

std::vector<const command_spec*> commands_in_group(std::string_view word) {
  std::vector<const command_spec*> found;
  for (const auto& c : command_table())
    if (c.path.size() > word.size() && c.path.starts_with(word) && c.path[word.size()] == ' ' && !word.empty())
      found.push_back(&c);
  return found;
}

bool is_command_group(std::string_view word) { return !commands_in_group(word).empty(); }

std::string usage_of(const command_spec& command) {
  std::string usage = "flywheel " + std::string(command.path);
  for (const auto& o : command.options)
    if (o.required)
      usage += " --" + std::string(o.name) + " " + std::string(o.value_name);
  usage += " [options]";
  for (const auto& a : command.arguments) {
    const std::string name = std::string(a.name) + (a.repeatable ? "..." : "");
    usage += a.required ? " " + name : " [" + name + "]";
  }
  return usage;
}

std::vector<exit_spec> exits_of(const command_spec& command) {
  std::vector<exit_spec> exits{{0, "done"}, {2, "bad input"}};
  exits.insert(exits.end(), command.exits.begin(), command.exits.end());
  std::sort(exits.begin(), exits.end(), [](const exit_spec& a, const exit_spec& b) { return a.code < b.code; });
  return exits;
}

std::string option_signature(const option_spec& option) {
  std::string text = option.letter ? std::string("-") + option.letter + ", --" : std::string("    --");
  text += option.name;
  if (option.kind != value_kind::flag)
    text += " " + std::string(option.value_name);
  return text;
}

} // namespace flywheel
