#include "deploy/label_book.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

using namespace flywheel;
using testing::DoubleEq;
using testing::Optional;

namespace {

/// Answers what `rule` makes of a row.
class ruled_model : public tabular_model {
public:
  using rule = std::function<std::vector<float>(std::span<const float>)>;
  ruled_model(model_signature s, rule r) : tabular_model(std::move(s)), rule_(std::move(r)) {}
  std::string_view family() const noexcept override { return "rule"; }
  void predict(std::span<const float> features, std::size_t rows, std::span<float> out) const override {
    ASSERT_EQ(rows, 1U);
    ASSERT_EQ(features.size(), signature().inputs.size());
    const auto answer = rule_(features);
    std::copy(answer.begin(), answer.end(), out.begin());
  }
  status save(const std::filesystem::path&) const override { return error{errc::unsupported, "a rule has no files"}; }

private:
  rule rule_;
};

model_signature signature(std::vector<model_input> inputs, std::vector<std::string> classes = {"no", "yes"}) {
  model_signature s;
  s.type = classes.empty() ? task_type::regression : task_type::binary;
  s.target = "y";
  s.inputs = std::move(inputs);
  s.classes = std::move(classes);
  return s;
}
model_input number(std::string name) { return {std::move(name), column_type::numeric, {}}; }
model_input category(std::string name, std::vector<std::string> known) { return {std::move(name), column_type::categorical, std::move(known)}; }
std::shared_ptr<const tabular_model> model(model_signature s, ruled_model::rule r) { return std::make_shared<ruled_model>(std::move(s), std::move(r)); }
/// Probabilities for {"no", "yes"}.
std::vector<float> yes_if(bool yes) { return yes ? std::vector<float>{0.1F, 0.9F} : std::vector<float>{0.9F, 0.1F}; }

constexpr float missing = std::numeric_limits<float>::quiet_NaN();

} // namespace

TEST(label_book, scores_the_answer_and_what_the_other_would_have_said) {
  const auto s = signature({number("x")});
  label_book book{model(s, [](auto row) { return yes_if(row[0] > 0); }), model(s, [](auto row) { return yes_if(row[0] > 10); })};
  book.answered("a", false, {5}, yes_if(true));
  book.answered("b", true, {5}, yes_if(false));
  EXPECT_EQ(book.waiting(), 2U);

  const auto a = book.judge("a", "yes");
  ASSERT_TRUE(a);
  EXPECT_FALSE(a->challenger);
  EXPECT_EQ(a->score, 1);
  EXPECT_THAT(a->other, Optional(DoubleEq(0))) << "the challenger says no below 10";
  const auto b = book.judge("b", "yes");
  ASSERT_TRUE(b);
  EXPECT_TRUE(b->challenger);
  EXPECT_EQ(b->score, 0);
  EXPECT_THAT(b->other, Optional(DoubleEq(1)));

  EXPECT_FALSE(book.judge("a", "yes")) << "a label counts once";
  EXPECT_FALSE(book.judge("never asked", "yes"));
  EXPECT_EQ(book.waiting(), 0U);
}

TEST(label_book, each_model_is_asked_in_its_own_columns_classes_and_codes) {
  // champion: [plan(basic, pro), x], classes no/yes.  challenger: [x, plan(pro, basic)], classes yes/no, and no column more.
  std::vector<float> seen_by_champion, seen_by_challenger;
  label_book book{model(signature({category("plan", {"basic", "pro"}), number("x")}),
                        [&](auto row) { seen_by_champion.assign(row.begin(), row.end()); return std::vector<float>{0.2F, 0.8F}; }),
                  model(signature({number("x"), category("plan", {"pro", "basic"})}, {"yes", "no"}),
                        [&](auto row) { seen_by_challenger.assign(row.begin(), row.end()); return std::vector<float>{0.2F, 0.8F}; })};
  book.answered("a", false, {1, 7}, {0.2F, 0.8F}); // plan pro, x 7: yes
  auto a = book.judge("a", "yes");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->score, 1);
  EXPECT_THAT(a->other, Optional(DoubleEq(0))) << "the second class of the challenger is no";
  EXPECT_EQ(seen_by_challenger, (std::vector<float>{7, 0}));

  book.answered("b", true, {7, 1}, {0.2F, 0.8F}); // x 7, plan basic: no
  auto b = book.judge("b", "yes");
  ASSERT_TRUE(b);
  EXPECT_EQ(b->score, 0);
  EXPECT_THAT(b->other, Optional(DoubleEq(1)));
  EXPECT_EQ(seen_by_champion, (std::vector<float>{0, 7}));
}

TEST(label_book, missing_and_unseen_values_stay_what_they_are) {
  std::vector<float> seen;
  const auto same = signature({category("plan", {"basic", "pro"}), number("x")});
  label_book book{model(same, [](auto) { return yes_if(true); }),
                  model(same, [&](auto row) { seen.assign(row.begin(), row.end()); return yes_if(true); })};
  book.answered("a", false, {missing, missing}, yes_if(true));
  ASSERT_TRUE(book.judge("a", "yes")->other);
  EXPECT_TRUE(std::isnan(seen[0]) && std::isnan(seen[1]));
  book.answered("b", false, {unseen_category, -1}, yes_if(true));
  ASSERT_TRUE(book.judge("b", "yes")->other);
  EXPECT_EQ(seen, (std::vector<float>{unseen_category, -1})) << "-1 is a number here, not a missing category";
}

TEST(label_book, a_row_the_other_model_cannot_read_is_not_compared) {
  const auto yes = [](auto) { return yes_if(true); };
  struct line {
    const char* situation;
    model_signature champion, challenger;
    std::vector<float> row;
    bool compared;
  };
  const auto plan = [](std::vector<std::string> known) { return signature({category("plan", std::move(known))}); };
  for (const line& l : std::initializer_list<line>{
           {"an input fewer is enough", signature({number("x"), number("z")}), signature({number("z")}), {1, 2}, true},
           {"an input more is not there", signature({number("x")}), signature({number("x"), number("z")}), {1}, false},
           {"a number became a category", signature({number("plan")}), plan({"a"}), {0}, false},
           {"another task", signature({number("x")}), signature({number("x")}, {}), {1}, false},
           {"known to both", plan({"a", "b"}), plan({"a", "b", "c"}), {1}, true},
           {"unseen by the one, perhaps known to the other", plan({"a", "b"}), plan({"a", "b", "c"}), {unseen_category}, false},
           {"unseen by the one that knows more", plan({"a", "b", "c"}), plan({"a"}), {unseen_category}, true},
           {"known to the one, unseen by the other", plan({"a", "b", "c"}), plan({"a"}), {2}, true},
           {"a code out of range", plan({"a", "b"}), plan({"a", "b"}), {7}, false},
           {"not a code", plan({"a", "b"}), plan({"a", "b"}), {std::numeric_limits<float>::infinity()}, false},
           {"a row of another width", signature({number("x")}), signature({number("x")}), {1, 2}, false},
       }) {
    label_book book{model(l.champion, yes), model(l.challenger, yes)};
    book.answered("a", false, l.row, yes_if(true));
    const auto judged = book.judge("a", "yes");
    ASSERT_TRUE(judged) << l.situation;
    EXPECT_EQ(judged->score, 1) << l.situation << ": the answer that was given is judged all the same";
    EXPECT_EQ(judged->other.has_value(), l.compared) << l.situation;
  }
}

TEST(label_book, a_first_release_has_nobody_to_compare_with) {
  label_book book{nullptr, model(signature({number("x")}), [](auto) { return yes_if(true); })};
  book.answered("a", true, {1}, yes_if(true));
  const auto judged = book.judge("a", "no");
  ASSERT_TRUE(judged);
  EXPECT_EQ(judged->score, 0);
  EXPECT_FALSE(judged->other);
}

TEST(label_book, regression_scores_by_distance_and_takes_only_numbers) {
  const auto s = signature({number("x")}, {});
  label_book book{model(s, [](auto) { return std::vector<float>{3}; }), model(s, [](auto) { return std::vector<float>{5}; })};
  for (const char* bad : {"", "four", "4 ", "nan", "inf"}) {
    book.answered("a", false, {1}, {3});
    EXPECT_FALSE(book.judge("a", bad)) << bad;
  }
  book.answered("a", false, {1}, {3});
  const auto judged = book.judge("a", "4.5");
  ASSERT_TRUE(judged);
  EXPECT_EQ(judged->score, -1.5);
  EXPECT_THAT(judged->other, Optional(DoubleEq(-0.5)));
}

TEST(label_book, answers_without_labels_do_not_pile_up) {
  const auto s = signature({number("x")});
  label_book book{nullptr, model(s, [](auto) { return yes_if(true); }), 1000};
  for (int i = 0; i < 10'000; ++i) {
    book.answered(std::to_string(i), true, {1}, yes_if(true));
    ASSERT_LE(book.waiting(), 1000U);
  }
  EXPECT_FALSE(book.judge("0", "yes"));
  for (int i = 9'501; i < 10'000; ++i)
    EXPECT_TRUE(book.judge(std::to_string(i), "yes")) << i << ": the newest are kept";
}
