#include "actors/gate/handshake.hpp"

#include "cluster/base/json.hpp"
#include "cluster/content/publish.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

using namespace flywheel;
using namespace flywheel::gate;
using testing::HasSubstr;

namespace {

namespace fs = std::filesystem;
constexpr wall_time now{1'795'000'000'000'000'000};

class handshake : public testing::Test {
protected:
  static void SetUpTestSuite() {
    char name[] = "/tmp/flywheel-handshake-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    root = name;
    for (const char* ca : {"lab", "elsewhere"}) {
      ASSERT_TRUE(certificate_authority::create(root / ca, ca, now));
      const auto authority = certificate_authority::open(root / ca);
      ASSERT_TRUE(authority);
      for (const auto& [who, as] : {std::pair{"head", role::node}, {"node1", role::node}, {"maria", role::approver}})
        ASSERT_TRUE(authority->issue({who, as, {}, 30}, root / ca / who, now));
    }
  }
  static void TearDownTestSuite() { fs::remove_all(root); }

  static credentials of(const std::string& who, const std::string& ca = "lab", std::uint64_t incarnation = 5) {
    const tls_files files{root / ca / who / (who + ".pem"), root / ca / who / (who + ".key"), root / ca / who / "ca.pem"};
    credentials c;
    c.certificate = read_file(files.certificate, 1 << 16).value();
    c.authority = read_file(files.authority, 1 << 16).value();
    c.sign = [files](std::string_view bytes) { return sign(files, bytes); };
    c.draw = [] { return ++drawn; };
    c.incarnation = incarnation;
    return c;
  }
  inline static fs::path root;
  inline static std::uint64_t drawn = 0;
};

} // namespace

TEST_F(handshake, both_learn_who_the_other_is) {
  dialler_handshake dialler{of("maria", "lab", 5), R"({"wants":"to approve"})"};
  acceptor_handshake acceptor{of("head", "lab", 8)};
  const auto challenge = acceptor.challenge(dialler.hello(), now);
  ASSERT_TRUE(challenge) << challenge.error().to_string();
  const auto proof = dialler.answer(*challenge, now);
  ASSERT_TRUE(proof) << proof.error().to_string();
  EXPECT_EQ(dialler.peer().who.name, "head");
  EXPECT_EQ(dialler.peer().incarnation, 8U);
  const auto who = acceptor.accept(*proof);
  ASSERT_TRUE(who) << who.error().to_string();
  EXPECT_EQ(who->who.name, "maria");
  EXPECT_EQ(who->who.as, role::approver);
  EXPECT_EQ(who->incarnation, 5U);
  EXPECT_EQ(who->greeting, R"({"wants":"to approve"})");
  EXPECT_EQ(acceptor.welcome("hi").kind, envelope_kind::welcome);
}

TEST_F(handshake, a_greeting_that_was_changed_on_the_way_is_not_believed) {
  dialler_handshake dialler{of("node1"), R"({"key":"mine"})"};
  acceptor_handshake acceptor{of("head")};
  auto hello = dialler.hello();
  const auto at = hello.body.find("mine");
  ASSERT_NE(at, std::string::npos);
  hello.body.replace(at, 4, "evil");
  const auto challenge = acceptor.challenge(hello, now);
  ASSERT_TRUE(challenge);
  EXPECT_FALSE(dialler.answer(*challenge, now)) << "what the acceptor signed is not what was said";
}

TEST_F(handshake, another_clusters_certificate_opens_nothing) {
  {
    dialler_handshake stranger{of("node1", "elsewhere"), ""};
    acceptor_handshake acceptor{of("head")};
    const auto challenge = acceptor.challenge(stranger.hello(), now);
    ASSERT_FALSE(challenge);
    EXPECT_EQ(challenge.error().code, errc::not_allowed);
  }
  dialler_handshake dialler{of("node1"), ""};
  acceptor_handshake stranger{of("head", "elsewhere")};
  auto hello = dialler.hello();
  hello.body = nlohmann::json{{"certificate", of("node1", "elsewhere").certificate}, {"greeting", ""},
                              {"nonce", nlohmann::json::parse(hello.body)["nonce"]}}.dump();
  const auto challenge = stranger.challenge(hello, now);
  ASSERT_TRUE(challenge);
  EXPECT_EQ(dialler.answer(*challenge, now).error().code, errc::not_allowed) << "the dialler asks for the acceptor's certificate, too";
}

TEST_F(handshake, who_shows_anothers_certificate_cannot_prove_it) {
  auto thief = of("node1");
  thief.certificate = of("maria").certificate;
  dialler_handshake dialler{thief, ""};
  acceptor_handshake acceptor{of("head")};
  const auto challenge = acceptor.challenge(dialler.hello(), now);
  ASSERT_TRUE(challenge);
  const auto proof = dialler.answer(*challenge, now);
  ASSERT_TRUE(proof);
  const auto who = acceptor.accept(*proof);
  ASSERT_FALSE(who);
  EXPECT_EQ(who.error().code, errc::not_allowed);
  EXPECT_THAT(who.error().what, HasSubstr("signature"));
}

TEST_F(handshake, a_user_does_not_pose_as_a_node) {
  dialler_handshake dialler{of("node1"), ""};
  acceptor_handshake acceptor{of("maria")};
  const auto challenge = acceptor.challenge(dialler.hello(), now);
  ASSERT_TRUE(challenge);
  EXPECT_THAT(dialler.answer(*challenge, now).error().what, HasSubstr("maria"));
}

TEST_F(handshake, what_was_said_to_one_is_of_no_use_with_another) {
  // node1 is dialled by maria and passes her messages on to the head, as if it were her.
  dialler_handshake maria{of("maria"), ""};
  acceptor_handshake head{of("head")};
  const auto from_head = head.challenge(maria.hello(), now);
  ASSERT_TRUE(from_head);
  auto twisted = *from_head; // the only part that node1 can make is its own
  auto body = nlohmann::json::parse(twisted.body);
  body["certificate"] = of("node1").certificate;
  twisted.body = body.dump();
  EXPECT_EQ(maria.answer(twisted, now).error().code, errc::not_allowed) << "the head's signature is not node1's";
}

TEST_F(handshake, an_old_proof_does_not_fit_a_new_nonce) {
  dialler_handshake first{of("maria"), ""};
  acceptor_handshake then{of("head")};
  const auto hello = first.hello();
  const auto proof = first.answer(*then.challenge(hello, now), now);
  ASSERT_TRUE(proof);
  ASSERT_TRUE(then.accept(*proof));
  EXPECT_FALSE(then.accept(*proof)) << "once";
  acceptor_handshake later{of("head")};
  ASSERT_TRUE(later.challenge(hello, now)); // replayed
  EXPECT_EQ(later.accept(*proof).error().code, errc::not_allowed);
}

TEST_F(handshake, an_expired_certificate_is_refused) {
  dialler_handshake dialler{of("node1"), ""};
  acceptor_handshake acceptor{of("head")};
  const auto late = now + std::chrono::hours{24} * 31;
  EXPECT_EQ(acceptor.challenge(dialler.hello(), late).error().code, errc::not_allowed);
}

TEST_F(handshake, steps_out_of_order_and_twisted_ones_are_refused) {
  dialler_handshake dialler{of("node1"), ""};
  acceptor_handshake acceptor{of("head")};
  envelope proof;
  proof.kind = envelope_kind::proof;
  EXPECT_EQ(acceptor.accept(proof).error().code, errc::protocol_violation);
  EXPECT_EQ(dialler.answer(proof, now).error().code, errc::protocol_violation);
  const auto hello = dialler.hello();
  EXPECT_EQ(dialler.answer(hello, now).error().code, errc::protocol_violation);
  for (const char* key : {"certificate", "nonce", "greeting"}) {
    auto broken = hello;
    auto body = nlohmann::json::parse(broken.body);
    body[key] = 4;
    broken.body = body.dump();
    EXPECT_EQ(acceptor_handshake{of("head")}.challenge(broken, now).error().code, errc::protocol_violation) << key;
  }
  for (const char* nonce : {"", "00", "zz"}) {
    auto broken = hello;
    auto body = nlohmann::json::parse(broken.body);
    body["nonce"] = nonce;
    broken.body = body.dump();
    EXPECT_EQ(acceptor_handshake{of("head")}.challenge(broken, now).error().code, errc::protocol_violation) << nonce;
  }
  auto without = hello;
  without.incarnation = 0;
  EXPECT_EQ(acceptor_handshake{of("head")}.challenge(without, now).error().code, errc::protocol_violation);
  ASSERT_TRUE(acceptor.challenge(hello, now));
  EXPECT_EQ(acceptor.challenge(hello, now).error().code, errc::protocol_violation) << "one hello a connection";

  acceptor_handshake refusing{of("head")};
  EXPECT_EQ(dialler.answer(refusing.refuse(error{errc::stale_epoch, "an older incarnation"}), now).error().code, errc::stale_epoch);
}
