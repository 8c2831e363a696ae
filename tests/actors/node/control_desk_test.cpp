#include "actors/node/control_desk.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

using namespace flywheel;

TEST(control_desk, each_role_may_do_what_it_is_for) {
  const std::set<std::string> looks{"ping", "wait", "nodes", "events", "gang"}, submits{"submit", "cancel", "launch"}, approves{"answer", "rollback"}, administers{"drain", "down", "stop", "anything new"};
  struct line {
    role who;
    bool submit, approve, administer;
  };
  for (const line& l : std::initializer_list<line>{{role::node, false, false, false},
                                                   {role::viewer, false, false, false},
                                                   {role::submitter, true, false, false},
                                                   {role::approver, true, true, false},
                                                   {role::admin, true, true, true}}) {
    for (const auto& op : looks)
      EXPECT_TRUE(may_do(l.who, op)) << name_of(l.who) << " " << op;
    for (const auto& op : submits)
      EXPECT_EQ(may_do(l.who, op), l.submit) << name_of(l.who) << " " << op;
    for (const auto& op : approves)
      EXPECT_EQ(may_do(l.who, op), l.approve) << name_of(l.who) << " " << op;
    for (const auto& op : administers)
      EXPECT_EQ(may_do(l.who, op), l.administer) << name_of(l.who) << " " << op;
  }
}
