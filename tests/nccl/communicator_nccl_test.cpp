// NCCL needs GPUs. Without them: the refusal says what is missing. What needs one is skipped by name.

#include "nccl/library_nccl.hpp"
#include "tests/nccl/gang_fixture.hpp"

#include <cstring>

namespace flywheel::testing {
namespace {

TEST(nccl_library, says_what_it_found_or_what_is_missing) {
  const auto found = nccl_library::find();
  if (found) {
    EXPECT_GE(found.value()->gpus, 1);
    EXPECT_NE(describe_nccl().find("GPU(s)"), std::string::npos) << describe_nccl();
    return;
  }
  EXPECT_EQ(found.error().code, errc::unsupported);
  EXPECT_FALSE(found.error().hint.empty());
  EXPECT_EQ(describe_nccl(), found.error().what);
}

TEST(communicator_nccl, a_gang_on_gpus_is_refused_where_there_are_none) {
  if (nccl_library::find())
    GTEST_SKIP() << "this host has GPUs";
  gang_of_processes gang{1, backend::nccl};
  const auto c = join_gang(gang.record(0), 1s);
  ASSERT_FALSE(c);
  EXPECT_EQ(c.error().code, errc::unsupported);
  EXPECT_NE(c.error().to_string().find("NCCL cannot be used"), std::string::npos) << c.error().to_string();
}

TEST(communicator_nccl, needs_gpu_a_gang_of_one_reduces_its_own_array) {
  if (const auto found = nccl_library::find(); !found)
    GTEST_SKIP() << "communicator_nccl.needs_gpu_a_gang_of_one_reduces_its_own_array waits for a GPU: " << found.error().what;
  gang_of_processes gang{1, backend::nccl};
  auto record = gang.record(0);
  record.members[0].gpu = 0;
  const auto c = join_gang(record, plenty);
  ASSERT_TRUE(c) << c.error().to_string();
  EXPECT_EQ((*c)->memory(), memory_space::device);
  const auto bytes = (*c)->allocate(1 << 20);
  ASSERT_TRUE(bytes) << bytes.error().to_string();
  for (const auto type : {element::f32, element::f64, element::bf16, element::i64}) {
    const array_view data{bytes->data(), bytes->size() / bytes_of(type), type};
    for (const auto op : {reduction::sum, reduction::max, reduction::avg}) {
      EXPECT_TRUE((*c)->all_reduce(data, op, plenty)) << name_of(type) << " " << name_of(op);
      EXPECT_TRUE((*c)->reduce_scatter(data, op, plenty)) << name_of(type) << " " << name_of(op);
    }
    EXPECT_TRUE((*c)->all_gather(data, plenty));
    EXPECT_TRUE((*c)->broadcast(data, 0, plenty));
  }
  EXPECT_TRUE((*c)->barrier(plenty));
  (*c)->abort("the test is over");
  EXPECT_EQ((*c)->barrier(plenty).error().code, errc::cancelled);
}

} // namespace
} // namespace flywheel::testing
