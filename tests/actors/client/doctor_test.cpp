#include "actors/client/doctor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>

namespace flywheel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using enum doctor_verdict;

constexpr std::uint64_t gib = 1ull << 30;

machine_facts sound_machine() {
  machine_facts f;
  f.kernel = "Linux 6.1 x86_64";
  f.cores_usable = f.cores_present = 8;
  f.cpu_features = {"avx2", "fma"};
  f.memory_total = f.memory_available = 16 * gib;
  f.state_folder = "/state";
  f.state_exists = f.state_writable = true;
  f.file_system = "ext4";
  f.disk_free = f.disk_total = 100 * gib;
  f.fsync_median = 1ms;
  f.landlock_abi = 3;
  f.open_files_soft = 1024;
  f.open_files_hard = 1'048'576;
  f.wall_seconds = 1'795'000'000;
  f.clock_synchronised = true;
  f.locale = "C.UTF-8";
  return f;
}

doctor_finding finding(const machine_facts& f, const std::string& name) {
  for (const auto& x : judge_machine(f))
    if (x.name == name)
      return x;
  ADD_FAILURE() << "no finding named " << name;
  return {};
}

TEST(doctor, a_sound_machine_has_nothing_to_mend) {
  for (const auto& x : judge_machine(sound_machine())) {
    EXPECT_EQ(x.verdict, ok) << x.name;
    EXPECT_EQ(x.hint, "") << x.name;
    EXPECT_NE(x.what, "") << x.name;
  }
  EXPECT_EQ(finding(sound_machine(), "gpu").what, "no GPU: using CPU slots");
}

TEST(doctor, each_ailment_has_a_verdict_and_advice) {
  struct ailment {
    std::string name;
    doctor_verdict verdict;
    std::function<void(machine_facts&)> make;
  };
  const std::vector<ailment> ailments{
      {"processors", warn, [](auto& f) { f.cpu_features.clear(); }},
      {"processors", warn, [](auto& f) { f.cores_usable = 1; }},
      {"memory", fail, [](auto& f) { f.memory_available = gib / 4; }},
      {"memory", fail, [](auto& f) { f.memory_limit = gib / 4; }},
      {"memory", warn, [](auto& f) { f.memory_available = gib; }},
      {"state", fail, [](auto& f) { f.state_writable = false; }},
      {"disk", fail, [](auto& f) { f.disk_free = 1 << 20; }},
      {"disk", warn, [](auto& f) { f.disk_free = gib; }},
      {"disk", warn, [](auto& f) { f.file_system = "nfs"; }},
      {"disk", warn, [](auto& f) { f.file_system = "tmpfs"; }},
      {"fsync", warn, [](auto& f) { f.fsync_median = 80ms; }},
      {"fsync", warn, [](auto& f) { f.fsync_median = 1us; }},
      {"fsync", warn, [](auto& f) { f.fsync_median.reset(); }},
      {"gpu", warn, [](auto& f) { f.gpu_device = true; }},
      {"gangs", warn, [](auto& f) { f.gpu_device = true, f.gpus = {"NVIDIA H200"}, f.nccl = "the NCCL library was not found"; }},
      {"sandbox", warn, [](auto& f) { f.landlock_abi.reset(); }},
      {"open-files", warn, [](auto& f) { f.open_files_soft = 512; }},
      {"open-files", fail, [](auto& f) { f.open_files_soft = 64; }},
      {"clock", fail, [](auto& f) { f.wall_seconds = 0; }},
      {"clock", fail, [](auto& f) { f.wall_seconds = 5'000'000'000; }},
      {"clock", ok, [](auto& f) { f.clock_synchronised = false; }},
      {"locale", ok, [](auto& f) { f.locale = "C"; }},
  };
  for (const auto& a : ailments) {
    auto f = sound_machine();
    a.make(f);
    const auto x = finding(f, a.name);
    SCOPED_TRACE(a.name + ": " + x.what);
    EXPECT_EQ(name_of(x.verdict), name_of(a.verdict));
    EXPECT_NE(x.hint, "");
    for (const auto& other : judge_machine(f))
      EXPECT_TRUE(other.name == a.name || other.verdict == ok) << other.name << " is not what ails it";
  }
}

TEST(doctor, gpus_and_an_owner_are_told) {
  auto f = sound_machine();
  f.gpu_device = f.nccl_found = true;
  f.gpus = {"NVIDIA H200, 139 GiB (138 GiB free), sm_90", "NVIDIA H200, 139 GiB (12 GiB free), sm_90"};
  f.nccl = "NCCL 2.28.9, 2 GPU(s)";
  f.owner_pid = 4711;
  EXPECT_EQ(finding(f, "gpu").verdict, ok);
  EXPECT_THAT(finding(f, "gpu").what, testing::AllOf(HasSubstr("12 GiB free"), HasSubstr("138 GiB free")));
  EXPECT_EQ(finding(f, "gangs").verdict, ok);
  EXPECT_THAT(finding(f, "gangs").what, HasSubstr("NCCL 2.28.9"));
  EXPECT_THAT(finding(f, "state").what, HasSubstr("process 4711"));
}

TEST(doctor, without_a_gpu_gangs_are_of_cpu_ranks) {
  EXPECT_THAT(finding(sound_machine(), "gangs").what, HasSubstr("shared memory"));
  EXPECT_THAT(finding(sound_machine(), "gangs").what, testing::Not(HasSubstr("GPU ranks")));
}

TEST(doctor, says_why_a_gpu_cannot_be_used) {
  auto f = sound_machine();
  f.gpu_device = true;
  f.without_cuda = "the CUDA module has version 1, the program 2";
  EXPECT_EQ(finding(f, "gpu").verdict, warn);
  EXPECT_THAT(finding(f, "gpu").what, HasSubstr("has version 1"));
  f.gpus = {"NVIDIA H200, 139 GiB (138 GiB free), sm_90"};
  f.without_cuda = "looking at GPU 1: uncorrectable ECC error";
  EXPECT_EQ(finding(f, "gpu").verdict, warn) << "one works, the other does not";
  EXPECT_THAT(finding(f, "gpu").what, testing::AllOf(HasSubstr("H200"), HasSubstr("uncorrectable")));
}

class doctor_probe : public testing::Test {
protected:
  void SetUp() override {
    char name[] = "/tmp/flywheel-doctor-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(doctor_probe, sees_this_machine_and_leaves_nothing_behind) {
  const auto f = look_at_machine(folder_ / "not" / "yet" / "there");
  EXPECT_THAT(f.kernel, HasSubstr("Linux"));
  EXPECT_GE(f.cores_usable, 1u);
  EXPECT_GE(f.cores_present, f.cores_usable);
  EXPECT_GT(f.memory_available, 0u);
  EXPECT_GE(f.memory_total, f.memory_available);
  EXPECT_FALSE(f.state_exists);
  EXPECT_TRUE(f.state_writable) << f.state_problem;
  EXPECT_GT(f.disk_total, 0u);
  ASSERT_TRUE(f.fsync_median);
  EXPECT_GT(f.fsync_median->count(), 0);
  EXPECT_GT(f.open_files_soft, 0u);
  EXPECT_GT(f.wall_seconds, 1'700'000'000);
  EXPECT_TRUE(std::filesystem::is_empty(folder_)) << "the probe's file is still there";
}

TEST_F(doctor_probe, a_place_where_nobody_can_write_is_told_with_its_reason) {
  std::ofstream(folder_ / "file") << "";
  const auto f = look_at_machine(folder_ / "file" / "state");
  EXPECT_FALSE(f.state_writable);
  EXPECT_NE(f.state_problem, "");
  EXPECT_FALSE(look_at_machine("/proc/flywheel").state_writable) << "not even root can write there";
}

} // namespace
} // namespace flywheel
