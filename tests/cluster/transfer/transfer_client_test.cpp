// Client and server over the loopback, and what is between them.

#include "cluster/transfer/transfer_client.hpp"

#include "tests/cluster/transfer/link.hpp"

#include <gmock/gmock.h>

using namespace flywheel;
using namespace flywheel::transfer;
using testing::HasSubstr;

using transfer_client_test = linked;

TEST_F(transfer_client_test, files_come_and_go_as_they_are) {
  const auto c = client();
  const auto table = c->list(7, 0, {});
  ASSERT_TRUE(table) << table.error().to_string();
  EXPECT_TRUE(table->is_file);
  const auto f = local("node-table");
  ASSERT_TRUE(c->fetch(7, 0, table->files[0], f.get(), {}));
  EXPECT_EQ(p.read("node-table"), big(0));
  const auto more = c->list(7, 1, {});
  ASSERT_TRUE(more);
  EXPECT_EQ(more->files.size(), 2U);
  EXPECT_FALSE(more->is_file);
  const auto empty = local("node-y");
  EXPECT_TRUE(c->fetch(7, 1, more->files[0], empty.get(), {}));
  p.write("node-model", big(1));
  const auto model = local("node-model");
  const file_entry what{"weights.bin", big(1).size(), flywheel::digest_of(big(1))};
  ASSERT_TRUE(c->bring(7, 2, what, model.get(), {}));
  EXPECT_EQ(p.read("head/job/t/weights.bin"), big(1));
  ASSERT_TRUE(c->bring(7, 3, what, model.get(), {}));
  EXPECT_FALSE(p.has("head/job/t.model"));
  ASSERT_TRUE(c->finish(7, 3, {what}, {}));
  EXPECT_EQ(p.read("head/job/t.model/weights.bin"), big(1));
  EXPECT_TRUE(c->remove(7, 2, "weights.bin", {}));
  EXPECT_EQ(p.tree("head/job"), "t t.model t.model/weights.bin ");
}

TEST_F(transfer_client_test, a_broken_connection_costs_time_and_nothing_else) {
  cutter between{server->port(), 2'500'000, 100};
  const auto c = client(between.port, keys);
  const auto table = c->list(7, 0, {});
  ASSERT_TRUE(table) << table.error().to_string();
  const auto f = local("node-table");
  const auto fetched = c->fetch(7, 0, table->files[0], f.get(), {});
  ASSERT_TRUE(fetched) << fetched.error().to_string();
  EXPECT_EQ(p.read("node-table"), big(0));
  EXPECT_GE(between.cut.load(), 1);
  const int before = between.cut;
  const file_entry what{"weights.bin", big(0).size(), flywheel::digest_of(big(0))};
  const auto brought = c->bring(7, 2, what, f.get(), {});
  ASSERT_TRUE(brought) << brought.error().to_string();
  EXPECT_EQ(p.read("head/job/t/weights.bin"), big(0));
  EXPECT_GT(between.cut.load(), before);
  EXPECT_EQ(p.tree("head/job"), "t t/weights.bin ");
}

TEST_F(transfer_client_test, a_fetch_that_was_given_up_goes_on_where_it_was) {
  const auto c = client();
  const auto table = c->list(7, 0, {});
  ASSERT_TRUE(table);
  const auto f = local("node-table");
  ASSERT_EQ(::write(f.get(), big(0).data(), 3'000'000), 3'000'000);
  ASSERT_TRUE(c->fetch(7, 0, table->files[0], f.get(), {}));
  EXPECT_EQ(p.read("node-table"), big(0));
  int asked = 0;
  const auto g = local("node-table-2");
  EXPECT_EQ(c->fetch(7, 0, table->files[0], g.get(), [&] { return ++asked > 2; }).error().code, errc::interrupted);
  const auto part = p.read("node-table-2");
  EXPECT_EQ(part, big(0).substr(0, part.size())) << "what stays is a beginning of the file";
  ASSERT_TRUE(c->fetch(7, 0, table->files[0], g.get(), {}));
  EXPECT_EQ(p.read("node-table-2"), big(0));
}

TEST_F(transfer_client_test, what_changes_or_shrinks_meanwhile_is_noticed) {
  const auto c = client();
  auto table = c->list(7, 0, {});
  ASSERT_TRUE(table);
  p.write("head/train.fwt", big(0).substr(0, 1'200'000));
  const auto f = local("node-table");
  EXPECT_EQ(c->fetch(7, 0, table->files[0], f.get(), {}).error().code, errc::checksum_mismatch);
  const file_entry lie{"w", 3, flywheel::digest_of("abc")};
  p.write("node-file", "abd");
  const auto g = local("node-file");
  EXPECT_EQ(c->bring(7, 2, lie, g.get(), {}).error().code, errc::checksum_mismatch);
  EXPECT_EQ(p.tree("head/job"), "t ");
  EXPECT_EQ(c->bring(7, 2, {"w", 9, flywheel::digest_of("abc")}, g.get(), {}).error().code, errc::io_failed) << "it is shorter than was said";
}

TEST_F(transfer_client_test, a_stranger_gets_nowhere_and_a_node_that_left_is_stopped) {
  const auto stranger = new_keys();
  const auto nobody = client(server->port(), stranger)->list(7, 0, {});
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, errc::unreachable);
  EXPECT_THAT(nobody.error().hint, HasSubstr("--data-port"));
  EXPECT_EQ(nobody.error().to_string().find(stranger.public_key()), std::string::npos);

  const auto own = new_keys();
  book->admit("b", own.public_key());
  const auto b = client(server->port(), own);
  EXPECT_EQ(b->list(7, 0, {}).error().code, errc::stale_epoch) << "it is node a's lease";
  grant_to("b", 8);
  EXPECT_TRUE(b->list(8, 0, {}));
  book->forget("b");
  EXPECT_EQ(b->list(8, 0, {}).error().code, errc::stale_epoch) << "on the connection it still has";
  EXPECT_EQ(client(server->port(), own)->list(8, 0, {}).error().code, errc::unreachable) << "and a new one is not let in";
  const auto a = client();
  EXPECT_TRUE(a->list(7, 0, {}));
  book->admit("a", new_keys().public_key());
  EXPECT_EQ(a->list(7, 0, {}).error().code, errc::stale_epoch) << "an older life of the same node";
}

TEST_F(transfer_client_test, a_head_that_is_none_gets_no_answer_out_of_us) {
  client_options o;
  o.endpoint = "tcp://127.0.0.1:" + std::to_string(server->port());
  o.server_key = new_keys().public_key(); // somebody else listens there
  o.unconnected_for = std::chrono::milliseconds{700};
  o.ask_again = std::chrono::milliseconds{200};
  const auto c = transfer_client::connect(o, keys, system_clock());
  ASSERT_TRUE(c);
  EXPECT_EQ((*c)->list(7, 0, {}).error().code, errc::unreachable);
  o.server_key = "short";
  EXPECT_EQ(transfer_client::connect(o, keys, system_clock()).error().code, errc::protocol_violation);
}

TEST_F(transfer_client_test, a_full_disk_of_the_nodes_ends_a_fetch_with_a_beginning) {
  const auto c = client();
  const auto table = c->list(7, 0, {});
  ASSERT_TRUE(table);
  const auto full = open_file("/dev/full", O_RDWR);
  if (!full)
    GTEST_SKIP() << "no /dev/full here";
  EXPECT_FALSE(c->fetch(7, 0, table->files[0], full->get(), {}));
  const auto f = local("node-table");
  EXPECT_TRUE(c->fetch(7, 0, table->files[0], f.get(), {})) << "the next one is not disturbed by what was under way";
  EXPECT_EQ(p.read("node-table"), big(0));
}
