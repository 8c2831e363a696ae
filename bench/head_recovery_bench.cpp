// A journal of many goals, for the head that must come up again over it.
//   bench_head_recovery STATE GOALS      writes GOALS finished goals, 20 events each
#include "cluster/base/json.hpp"
#include "cluster/journal/journal.hpp"
#include "cluster/journal/state_directory.hpp"

#include <cstdio>
#include <cstdlib>

using namespace flywheel;
using nlohmann::json;

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_head_recovery STATE GOALS\n");
    return 2;
  }
  auto directory = state_directory::own(argv[1]);
  auto log = directory ? journal::open(directory->layout().root, system_clock()) : result<std::unique_ptr<journal>>{directory.error()};
  if (!log) {
    std::fprintf(stderr, "%s\n", log.error().to_string().c_str());
    return 1;
  }
  const int goals = std::atoi(argv[2]);
  std::uint64_t events = 0;
  for (int g = 0; g < goals; ++g) {
    const auto id = "old-" + std::to_string(g);
    std::vector<event_draft> drafts;
    const auto add = [&](event_kind kind, const std::string& step, const std::string& subject, const json& body) {
      event_draft d;
      d.kind = kind;
      d.goal = id;
      d.step = step;
      d.subject = subject;
      d.actor = "conductor";
      d.text = "what happened to " + id;
      d.body = body.dump();
      d.epoch = directory->epoch();
      drafts.push_back(std::move(d));
    };
    const json spec{{"name", id}, {"flywheel", 1}};
    add(event_kind::goal_submitted, {}, id, {{"user", "bench"}, {"spec", spec}, {"digest", std::string(64, 'a')}});
    add(event_kind::goal_state, {}, id, {{"state", "running"}});
    for (int t = 0; t < 8; ++t) {
      add(event_kind::trial_state, "search", "gbt-" + std::to_string(t), {{"state", "created"}});
      add(event_kind::trial_state, "search", "gbt-" + std::to_string(t), {{"state", "completed"}, {"value", 0.9}});
    }
    add(event_kind::step_state, "search", "search", {{"state", "done"}, {"outputs", json::object()}});
    add(event_kind::goal_state, {}, id, {{"state", "done"}});
    events += drafts.size();
    if (auto written = (*log)->append(std::move(drafts)); !written) {
      std::fprintf(stderr, "%s\n", written.error().to_string().c_str());
      return 1;
    }
  }
  std::printf("%llu\n", static_cast<unsigned long long>(events));
  return 0;
}
