// The example of a worker in another language, as a stranger would run it.

#include "cluster/worker/worker_pool.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

using namespace flywheel;
using namespace std::chrono_literals;

TEST(python_worker, the_example_speaks_the_protocol) {
  const char* chosen = std::getenv("FLYWHEEL_PYTHON");
  const std::string python = chosen ? chosen : "python3";
  if (std::system((python + " -c 'import zmq, msgpack' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << "EXAMPLES/WORKER.PY IS NOT TESTED HERE: " << python
                 << " has no pyzmq and msgpack; name one that has in FLYWHEEL_PYTHON";
  char name[] = "/tmp/flywheel-python-XXXXXX";
  const std::filesystem::path folder = mkdtemp(name);
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, task_end> ends;
  worker_pool_options o;
  o.socket = folder / "s";
  o.command = {python, FLYWHEEL_SOURCE_DIR "/examples/worker.py"};
  worker_pool_events e;
  e.reported = [](const wire::report& r, std::function<void(bool)> answer) { answer(r.rung < 1); };
  e.ended = [&](const task_end& end) {
    const std::lock_guard guard{mutex};
    ends[end.task] = end;
    changed.notify_all();
  };
  auto pool = worker_pool::start(o, e, system_clock());
  ASSERT_TRUE(pool) << pool.error().to_string();
  const std::pair<const char*, const char*> bodies[] = {{"square", "{\"x\": 12}"}, {"steps", "{}"}, {"unheard_of", "{}"}};
  for (const auto& [kind, body] : bodies) {
    worker_task t;
    t.task = {kind, 1, kind, body};
    (*pool)->submit(t);
  }
  {
    std::unique_lock lock{mutex};
    ASSERT_TRUE(changed.wait_for(lock, 30s, [&] { return ends.size() == 3; }));
  }
  EXPECT_EQ(ends["square"].body, "{\"y\": 144}") << ends["square"].cause.to_string();
  EXPECT_EQ(ends["steps"].body, "{\"stopped_at\": 1}");
  EXPECT_EQ(ends["unheard_of"].cause.code, errc::library_failed);
  pool->reset();
  std::filesystem::remove_all(folder);
}
