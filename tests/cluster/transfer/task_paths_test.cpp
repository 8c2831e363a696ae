#include "cluster/transfer/task_paths.hpp"

#include "cluster/base/json.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::transfer;
using nlohmann::json;

namespace {
task_files files() { return {{"/head/data/train.fwt", "/head/extra"}, "/head/trials/g", {"t"}, {"t.model"}, {"/table", "/folder"}, {"/model"}}; }
worker_task task(const std::string& body) {
  worker_task t;
  t.task.body = body;
  t.sandbox = {{"/head/data/train.fwt"}, {"/head/trials/g"}};
  t.files = files();
  return t;
}
} // namespace

TEST(task_paths, a_task_reads_here_what_it_reads_there) {
  const auto p = task_paths::of(files(), "/node/jobs/7");
  ASSERT_TRUE(p);
  const auto t = p->here(task(R"({"table":"/head/data/train.fwt","folder":"/head/trials/g","spec":{"lr":0.1,"n":12345678901234567890}})"));
  ASSERT_TRUE(t) << t.error().to_string();
  EXPECT_EQ(json::parse(t->task.body), json::parse(R"({"table":"/node/jobs/7/in/0/train.fwt","folder":"/node/jobs/7/job","spec":{"lr":0.1,"n":12345678901234567890}})"));
  EXPECT_EQ(t->sandbox.readable.at(0), "/node/jobs/7/in/0/train.fwt");
  EXPECT_EQ(t->sandbox.writable.at(0), "/node/jobs/7/job");
  EXPECT_EQ(p->input(1), "/node/jobs/7/in/1/extra");
  EXPECT_EQ(*p->there(R"({"model":"/node/jobs/7/job/t.model"})"), R"({"model":"/head/trials/g/t.model"})");
  EXPECT_EQ(*p->there(R"({"value":0.25})"), R"({"value":0.25})") << "a trial leaves no model";
  EXPECT_EQ(*p->there("no JSON"), "no JSON");
}

TEST(task_paths, what_is_none_of_the_tasks_files_is_not_guessed_at) {
  const auto p = task_paths::of(files(), "/node/jobs/7");
  for (const char* table : {"/head/data/train.fwt2", "/head/trials", "/etc/passwd", "train.fwt", "/head/trials/g/../../x", ""})
    EXPECT_FALSE(p->here(task(json{{"table", table}, {"folder", "/head/trials/g"}}.dump()))) << table;
  EXPECT_FALSE(p->here(task(R"({"folder":"/head/trials/g"})"))) << "a path that is said to be there is missing";
  EXPECT_FALSE(p->here(task("no JSON")));
  auto t = task(R"({"table":"/head/data/train.fwt","folder":"/head/trials/g"})");
  t.sandbox.readable.push_back("/etc");
  EXPECT_FALSE(p->here(t));
  EXPECT_FALSE(p->there(R"({"model":"/etc/passwd"})"));
}

TEST(task_paths, files_that_cannot_be_carried_are_refused) {
  EXPECT_EQ(task_paths::of({}, "/n").error().code, errc::unsupported);
  for (const auto& change : std::vector<std::function<void(task_files&)>>{
           [](task_files& f) { f.inputs[0] = "relative"; }, [](task_files& f) { f.inputs[0] = "/a/../b"; }, [](task_files& f) { f.inputs[0] = "/a/"; },
           [](task_files& f) { f.folder = "x"; }, [](task_files& f) { f.state[0] = "../up"; }, [](task_files& f) { f.state[0] = "a/b"; }, [](task_files& f) { f.results[0] = ".."; }}) {
    auto f = files();
    change(f);
    EXPECT_FALSE(task_paths::of(f, "/n"));
  }
}
