#include "cluster/transfer/grant_book.hpp"

#include <gtest/gtest.h>

using namespace flywheel;
using namespace flywheel::transfer;

namespace {
grant of(const std::string& node) { return {node, "g/t#1", {"/s/train.fwt"}, "/s/trials/g", {"t"}, {"t.model"}}; }
} // namespace

TEST(grant_book, a_key_is_a_nodes_while_that_node_is_there) {
  grant_book b;
  EXPECT_FALSE(b.node_of("k1"));
  b.admit("a", "k1");
  b.admit("b", "k2");
  EXPECT_EQ(b.node_of("k1"), "a");
  b.admit("a", "k3"); // its next incarnation
  EXPECT_FALSE(b.node_of("k1")) << "the older key is nobody's";
  EXPECT_EQ(b.node_of("k3"), "a");
  b.forget("a");
  EXPECT_FALSE(b.node_of("k3"));
  EXPECT_EQ(b.node_of("k2"), "b");
  b.admit("c", "k2"); // taken over: who showed it first is not believed any more
  EXPECT_EQ(b.node_of("k2"), "c");
  b.forget("b");
  EXPECT_EQ(b.node_of("k2"), "c");
}

TEST(grant_book, a_lease_opens_its_roots_to_its_node_and_no_other) {
  grant_book b;
  b.admit("a", "k1");
  b.admit("b", "k2");
  b.put(7, of("a"));
  const auto input = b.find("a", 7, 0), state = b.find("a", 7, 1), done = b.find("a", 7, 2);
  ASSERT_TRUE(input && state && done);
  EXPECT_EQ(input->kind, root_kind::input);
  EXPECT_EQ(input->folder / input->name, "/s/train.fwt");
  EXPECT_EQ(state->kind, root_kind::state);
  EXPECT_EQ(state->folder / state->name, "/s/trials/g/t");
  EXPECT_EQ(done->kind, root_kind::result);
  EXPECT_EQ(done->folder / done->name, "/s/trials/g/t.model");
  EXPECT_EQ(b.find("a", 7, 3).error().code, errc::invalid_argument);
  EXPECT_EQ(b.find("a", 7, ~std::uint64_t{0}).error().code, errc::invalid_argument);
  EXPECT_EQ(b.find("b", 7, 0).error().code, errc::stale_epoch);
  EXPECT_EQ(b.find("a", 8, 0).error().code, errc::stale_epoch);
}

TEST(grant_book, what_was_taken_back_publishes_nothing) {
  grant_book b;
  b.admit("a", "k1");
  b.put(7, of("a"));
  b.put(8, of("a"));
  int acts = 0;
  const auto act = [&] {
    ++acts;
    return success();
  };
  EXPECT_TRUE(b.while_held("a", 7, act));
  b.keep_only([](std::uint64_t lease, const grant&) { return lease == 8; });
  EXPECT_EQ(b.size(), 1U);
  EXPECT_EQ(b.while_held("a", 7, act).error().code, errc::stale_epoch);
  EXPECT_TRUE(b.while_held("a", 8, act));
  b.forget("a");
  EXPECT_EQ(b.while_held("a", 8, act).error().code, errc::stale_epoch) << "a node that is gone holds nothing";
  EXPECT_EQ(acts, 2);
}
