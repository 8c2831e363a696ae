// A task's files on their way to a node, and back.

#include "cluster/transfer/task_courier.hpp"

#include "cluster/base/json.hpp"
#include "tests/cluster/transfer/link.hpp"

#include <gmock/gmock.h>

#include <condition_variable>

using namespace flywheel;
using namespace flywheel::transfer;
using nlohmann::json;
using testing::HasSubstr;

namespace {

struct courier_test : linked {
  courier_test() { start(std::uint64_t{1} << 30); }
  void start(std::uint64_t cache) {
    courier.reset();
    courier_options o;
    o.folder = p.root / "node";
    o.node = "a";
    o.server.endpoint = "tcp://127.0.0.1:" + std::to_string(server->port());
    o.server.server_key = server->public_key();
    o.server.ask_again = std::chrono::milliseconds{200};
    o.server.unconnected_for = std::chrono::seconds{2};
    o.cache_bytes_max = cache;
    o.threads = 2;
    courier_events e;
    e.ready = [this](std::uint64_t lease, const std::string&, const result<worker_task>& t) { tell("ready " + std::to_string(lease), t ? t->task.body : t.error().to_string()); };
    e.saved = [this](std::uint64_t lease, const std::string&, std::uint64_t n, const status& s) {
      tell("saved " + std::to_string(lease) + " " + std::to_string(n), s ? "ok" : s.error().to_string());
    };
    e.brought = [this](std::uint64_t lease, const std::string&, const result<std::string>& b) { tell("brought " + std::to_string(lease), b ? *b : b.error().to_string()); };
    auto started = task_courier::start(o, std::make_shared<const curve_keys>(new_own()), e, system_clock());
    ASSERT_TRUE(started);
    courier = std::move(*started);
  }
  curve_keys new_own() {
    auto k = new_keys();
    book->admit("a", k.public_key());
    return k;
  }
  void tell(const std::string& what, const std::string& text) {
    const std::lock_guard lock{mutex};
    told[what] = text;
    heard.notify_all();
  }
  std::string wait_for(const std::string& what) {
    std::unique_lock lock{mutex};
    if (!heard.wait_for(lock, std::chrono::seconds{20}, [&] { return told.contains(what); }))
      return "never told";
    auto text = told[what];
    told.erase(what);
    return text;
  }
  worker_task task() const {
    worker_task t;
    t.task.id = "g/t#1";
    t.files = {{p.root / "head/train.fwt", p.root / "head/more"}, p.root / "head/job", {"t"}, {"t.model"}, {"/table", "/folder"}, {"/model"}};
    t.task.body = json{{"table", (p.root / "head/train.fwt").string()}, {"folder", (p.root / "head/job").string()}}.dump();
    t.sandbox = {{p.root / "head/train.fwt"}, {p.root / "head/job"}};
    return t;
  }
  bool gone(const std::string& name) const {
    for (int i = 0; i < 500 && p.has(name); ++i)
      ::poll(nullptr, 0, 10);
    return !p.has(name);
  }
  std::mutex mutex;
  std::condition_variable heard;
  std::map<std::string, std::string> told;
  std::unique_ptr<task_courier> courier;
};

} // namespace

TEST_F(courier_test, a_task_is_fetched_saved_and_brought) {
  p.write("head/job/t/step-1.h5", "old state");
  courier->prepare(7, task());
  EXPECT_EQ(json::parse(wait_for("ready 7"), nullptr, false).value("folder", ""), (p.root / "node/jobs/7/job").string());
  EXPECT_EQ(p.read("node/jobs/7/in/0/train.fwt"), big(0));
  EXPECT_EQ(p.tree("node/jobs/7/in/1"), "more more/sub more/sub/y more/x ");
  EXPECT_EQ(p.read("node/jobs/7/job/t/step-1.h5"), "old state");
  p.write("node/jobs/7/job/t/step-2.h5", "new state");
  p.write("node/jobs/7/job/t/step-3.h5.tmp-9", "half");
  std::filesystem::remove(p.root / "node/jobs/7/job/t/step-1.h5");
  courier->save(7, 1);
  EXPECT_EQ(wait_for("saved 7 1"), "ok");
  EXPECT_EQ(p.tree("head/job/t"), "step-2.h5 ") << "as it is at the node, without what is not done";
  p.write("node/jobs/7/job/t.model/weights", big(2));
  courier->bring(7, json{{"model", (p.root / "node/jobs/7/job/t.model").string()}}.dump());
  EXPECT_EQ(wait_for("brought 7"), (json{{"model", (p.root / "head/job/t.model").string()}}.dump()));
  EXPECT_EQ(p.read("head/job/t.model/weights"), big(2));
  courier->drop(7);
  EXPECT_TRUE(gone("node/jobs/7"));
  EXPECT_EQ(p.tree("head/job"), "t t.model t.model/weights t/step-2.h5 ");
}

TEST_F(courier_test, another_node_goes_on_from_what_was_saved) {
  courier->prepare(7, task());
  wait_for("ready 7");
  p.write("node/jobs/7/job/t/step-1.h5", "state");
  courier->save(7, 1);
  EXPECT_EQ(wait_for("saved 7 1"), "ok");
  p.write("node/jobs/7/job/t/step-2.h5", "state two");
  book->keep_only([](std::uint64_t, const grant&) { return false; }); // the node is given up
  courier->save(7, 2);
  EXPECT_THAT(wait_for("saved 7 2"), HasSubstr("lease 7"));
  EXPECT_EQ(p.tree("head/job/t"), "step-1.h5 ");
  grant_to("a", 8);
  courier->prepare(8, task());
  wait_for("ready 8");
  EXPECT_EQ(p.tree("node/jobs/8/job"), "t t/step-1.h5 ");
}

TEST_F(courier_test, what_fails_names_node_file_and_cause) {
  std::filesystem::remove(p.root / "head/train.fwt");
  courier->prepare(7, task());
  const auto why = wait_for("ready 7");
  EXPECT_THAT(why, HasSubstr("node a"));
  EXPECT_THAT(why, HasSubstr("train.fwt"));
  EXPECT_THAT(why, HasSubstr("not_found"));
  p.write("head/train.fwt", big(0));
  start(1000);
  courier->prepare(7, task());
  EXPECT_THAT(wait_for("ready 7"), HasSubstr("no_capacity"));
  auto dumb = task();
  dumb.files = {};
  courier->prepare(9, dumb);
  EXPECT_THAT(wait_for("ready 9"), HasSubstr("unsupported"));
}

TEST_F(courier_test, a_task_that_leaves_links_is_not_followed_out_of_its_folder) {
  p.write("secret", "s");
  courier->prepare(7, task());
  wait_for("ready 7");
  std::filesystem::create_directories(p.root / "node/jobs/7/job/t");
  std::filesystem::create_symlink(p.root / "secret", p.root / "node/jobs/7/job/t/link");
  courier->save(7, 1);
  EXPECT_THAT(wait_for("saved 7 1"), HasSubstr("not_allowed"));
  EXPECT_FALSE(p.has("head/job/t/link"));
}

TEST_F(courier_test, what_is_dropped_ends_at_once_and_leaves_nothing) {
  p.write("head/train.fwt", std::string(200'000'000, 'x'));
  courier->prepare(7, task());
  courier->drop(7);
  const auto end = wait_for("ready 7");
  EXPECT_TRUE(end.find("interrupted") != std::string::npos || end.starts_with("{")) << end;
  EXPECT_TRUE(gone("node/jobs/7"));
  courier->drop(7);
  courier->save(99, 1); // nobody knows it: no answer, no harm
  courier.reset();
  EXPECT_FALSE(p.has("node/jobs"));
}

TEST_F(courier_test, what_a_killed_process_left_is_removed_and_its_cache_is_used) {
  courier->prepare(7, task());
  wait_for("ready 7");
  courier.reset();
  p.write("node/jobs/99/job/x", "left");
  start(std::uint64_t{1} << 30);
  EXPECT_FALSE(p.has("node/jobs/99"));
  std::filesystem::remove(p.root / "head/more/x");
  p.write("head/more/x", "xx"); // the same content
  courier->prepare(7, task());
  EXPECT_THAT(wait_for("ready 7"), HasSubstr("node/jobs/7"));
}
