// What it costs to have somebody else do nothing: no-op trials through lease, warm worker and journal.
//   bench_control_plane FOLDER SLOTS CALLERS TRIALS    prints one JSON object
// Each trial: an event (fsync), the dispatcher's lease, a worker process over ZeroMQ, its end, an event (fsync).

#include "actors/dispatcher/dispatcher_actor.hpp"
#include "actors/protocol/agent_directory.hpp"
#include "cluster/base/json.hpp"
#include "cluster/journal/journal.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>

using namespace flywheel;
using nlohmann::json;

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench_control_plane: %s\n", what.c_str());
  std::exit(1);
}
template <class T> T must(result<T> r) {
  if (!r)
    fail(r.error().to_string());
  return std::move(*r);
}

struct plain_config : caf::actor_system_config {
  plain_config() {
    cafx::add_types<caf::id_block::flywheel>(*this);
    cafx::use_sharing_scheduler(*this);
    cafx::set(*this, "scheduler.max-threads", std::size_t{2});
  }
};

/// Ends by task; each waited for once.
class ends {
public:
  void put(const task_end& e) {
    const std::lock_guard lock{mutex_};
    ended_[e.task] = e.cause.code;
    came_.notify_all();
  }
  errc wait(const std::string& task) {
    std::unique_lock lock{mutex_};
    if (!came_.wait_for(lock, std::chrono::seconds{60}, [&] { return ended_.contains(task); }))
      fail(task + " did not end");
    const auto code = ended_.at(task);
    ended_.erase(task);
    return code;
  }

private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::map<std::string, errc> ended_;
};

double percentile(std::vector<double> v, double p) {
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<std::size_t>(p * static_cast<double>(v.size())))];
}

} // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string{argv[1]} == "worker")
    return serve_worker({}, [](const wire::task&, const worker_context&) -> result<std::string> { return std::string{"{}"}; });
  if (argc != 5)
    fail("usage: bench_control_plane FOLDER SLOTS CALLERS TRIALS");
  const std::filesystem::path folder = argv[1];
  const int slots = std::atoi(argv[2]), callers = std::atoi(argv[3]), trials = std::atoi(argv[4]);
  auto directory = must(state_directory::own(folder / "state"));
  auto log = must(journal::open(directory.layout().root, system_clock()));
  agent_directory agents;
  const agent_context context{directory.layout(), directory.epoch(), log.get(), &system_clock(), &agents, "bench", static_cast<unsigned>(slots)};
  cafx::init_types<caf::id_block::flywheel>();
  plain_config config;
  caf::actor_system system{config};
  dispatcher_options o;
  o.head = "head";
  for (int i = 0; i < slots; ++i)
    o.slots.push_back({{"head", "cpu" + std::to_string(i)}, slot_kind::cpu, "1 core", 1u << 30, 0});
  o.pool.socket = directory.layout().run() / "workers.sock";
  o.pool.command = {std::filesystem::read_symlink("/proc/self/exe").string(), "worker"};
  o.channel = std::make_shared<task_channel>();
  const auto channel = o.channel;
  auto dispatcher = spawn_dispatcher(system, context, std::move(o));
  ends over;
  worker_pool_events events;
  events.reported = [](const wire::report&, std::function<void(bool)> answer) { answer(true); };
  events.ended = [&](const task_end& e) { over.put(e); };
  auto runner = make_cluster_runner(dispatcher, channel, std::move(events));

  const scribe s{context, "bench"};
  std::mutex mutex;
  std::vector<double> milliseconds;
  const auto one = [&](int caller, int number) {
    const auto id = "trial-" + std::to_string(caller) + "-" + std::to_string(number);
    const auto begin = system_clock().mono();
    must(s.write(s.draft(event_kind::trial_state, "bench", "search", id, "trial " + id + " is created", {{"state", "created"}})));
    worker_task t;
    t.task = {"bench/" + id, 1, "trial", "{}"};
    runner->submit(std::move(t));
    if (const auto code = over.wait("bench/" + id); code != errc::ok)
      fail(id + " ended with " + std::string{name_of(code)});
    must(s.write(s.draft(event_kind::trial_state, "bench", "search", id, "trial " + id + " is completed", {{"state", "completed"}})));
    const std::lock_guard lock{mutex};
    milliseconds.push_back(static_cast<double>((system_clock().mono() - begin).count()) * 1e-6);
  };
  for (int i = 0; i < 4 * slots; ++i) // the workers are warm
    one(-1, i);
  milliseconds.clear();
  const auto begin = system_clock().mono();
  std::vector<std::thread> threads;
  for (int c = 0; c < callers; ++c)
    threads.emplace_back([&, c] {
      for (int i = 0; i < trials / callers; ++i)
        one(c, i);
    });
  for (auto& t : threads)
    t.join();
  const double seconds = static_cast<double>((system_clock().mono() - begin).count()) * 1e-9;
  std::printf("%s\n", json{{"trials", milliseconds.size()}, {"seconds", seconds}, {"p50_ms", percentile(milliseconds, 0.5)}, {"p99_ms", percentile(milliseconds, 0.99)}}.dump().c_str());
  runner.reset();
  {
    caf::scoped_actor self{system};
    self->send_exit(dispatcher, caf::exit_reason::user_shutdown);
    self->wait_for(dispatcher);
  }
  dispatcher = nullptr;
  return 0;
}
