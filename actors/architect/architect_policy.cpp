#include "actors/architect/architect_policy.hpp"

#include "cluster/base/text.hpp"
#include "cluster/statistics/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace flywheel {
namespace {

std::string number(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", x);
  return text;
}
std::string seconds_text(double s) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g s", s);
  return text;
}

bool is_network(const family_info& f) { return f.name == "mlp"; }

/// Why a family is not worth even a cheap look; empty if it is.
std::string unfit(const family_info& f, const data_facts& facts, const explore_options& o) {
  if (!is_network(f))
    return {};
  if (facts.rows < o.network_rows_min)
    return std::to_string(facts.rows) + " rows are too few for a network (it needs " +
           std::to_string(o.network_rows_min) + " or more)";
  if (facts.classes > 0 && facts.rarest_class_share * static_cast<double>(facts.rows) <
                               static_cast<double>(o.rows_per_class_min))
    return "the rarest class has fewer than " + std::to_string(o.rows_per_class_min) +
           " rows, too few for a network to learn it";
  return {};
}

std::string why_look(const family_info& f, const data_facts& facts) {
  std::string text = f.title + ": " + f.good_for;
  const double share = facts.inputs() > 0 ? static_cast<double>(facts.categorical) / static_cast<double>(facts.inputs()) : 0;
  if (facts.missing_share > 0.05 && !is_network(f))
    text += "; " + format_percent(facts.missing_share, 1) + " of the cells are missing, which it bears";
  if (is_network(f) && share >= 0.3)
    text += "; " + std::to_string(facts.categorical) + " of " + std::to_string(facts.inputs()) +
            " columns are categories, which it can embed";
  return text;
}

family_look look_at(const family_info& f, const data_facts& facts, const explore_budget& b, double part,
                    std::uint64_t trials) {
  family_look look;
  look.family = f.name;
  look.planned = {{f.defaults, "the family's defaults"}};
  look.trials = trials;
  // Large tables show the difference between families early; small ones need the length.
  const std::uint32_t divisor = facts.rows > 20'000 ? 4 : 2;
  look.resource_max = std::max(1u, f.resource_max / divisor);
  look.wall_seconds = b.wall_seconds * part;
  look.slot_seconds = b.slot_seconds * part;
  look.reason = why_look(f, facts) + "; " + std::to_string(trials) + (trials == 1 ? " trial" : " trials") + " of " +
                std::to_string(look.resource_max) + " " + f.resource + " (a full one has " +
                std::to_string(f.resource_max) + ")";
  return look;
}

struct spread {
  double mean = 0, error = 0, df = 1;
};

spread paired(const std::vector<double>& a, const std::vector<double>& b, double sign) {
  const double k = static_cast<double>(a.size());
  double mean = 0, squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    mean += sign * (a[i] - b[i]) / k;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = sign * (a[i] - b[i]) - mean;
    squares += d * d;
  }
  // 1/(k-1) is the ratio of validation to training rows in k-fold cross-validation.
  return {mean, std::sqrt(squares / (k - 1) * (1 / k + 1 / (k - 1))), k - 1};
}

} // namespace

data_facts facts_of(const table& t, const learning_task& task) {
  data_facts f;
  f.task = task.type;
  f.rows = t.rows();
  f.classes = task.type == task_type::regression ? 0 : task.classes.size();
  std::uint64_t missing = 0;
  for (const auto& name : task.inputs) {
    const auto* c = t.find(name);
    if (!c)
      continue;
    if (c->type == column_type::numeric) {
      ++f.numeric;
      missing += static_cast<std::uint64_t>(std::count_if(c->numbers.begin(), c->numbers.end(), [](double x) { return std::isnan(x); }));
    } else {
      ++f.categorical;
      missing += static_cast<std::uint64_t>(std::count_if(c->codes.begin(), c->codes.end(), [](auto code) { return code < 0; }));
      f.categories_most = std::max<std::uint64_t>(f.categories_most, c->categories.size());
    }
  }
  if (f.rows > 0 && f.inputs() > 0)
    f.missing_share = static_cast<double>(missing) / (static_cast<double>(f.rows) * static_cast<double>(f.inputs()));
  const auto* target = t.find(task.target);
  if (f.classes > 0 && f.rows > 0 && target && target->type == column_type::categorical) {
    std::uint64_t rarest = f.rows;
    for (const auto& label : task.classes) {
      const auto code = target->code_of(label);
      rarest = std::min(rarest, static_cast<std::uint64_t>(std::count(target->codes.begin(), target->codes.end(), code)));
    }
    f.rarest_class_share = static_cast<double>(rarest) / static_cast<double>(f.rows);
  } else if (f.classes > 0 && f.rows > 0 && target) {
    std::vector<double> values;
    std::copy_if(target->numbers.begin(), target->numbers.end(), std::back_inserter(values), [](double x) { return !std::isnan(x); });
    std::sort(values.begin(), values.end());
    std::uint64_t rarest = f.rows;
    for (auto at = values.begin(); at != values.end();) {
      const auto end = std::upper_bound(at, values.end(), *at);
      rarest = std::min(rarest, static_cast<std::uint64_t>(end - at));
      at = end;
    }
    f.rarest_class_share = static_cast<double>(rarest) / static_cast<double>(f.rows);
  }
  return f;
}

std::string describe(const data_facts& f) {
  std::string text = std::to_string(f.rows) + " rows, " + std::to_string(f.numeric) + " numeric and " +
                     std::to_string(f.categorical) + " categorical columns, " + format_percent(f.missing_share, 1) +
                     " missing";
  if (f.classes > 0)
    text += ", " + std::to_string(f.classes) + " classes, the rarest " + format_percent(f.rarest_class_share, 1);
  return text;
}

exploration_plan plan_exploration(const std::vector<const family_info*>& allowed, const data_facts& facts,
                                  const explore_budget& budget, const explore_options& o) {
  exploration_plan plan;
  std::vector<const family_info*> fit;
  if (facts.inputs() == 0 || facts.rows == 0) {
    for (const auto* f : allowed)
      plan.skipped.push_back({f->name, "there is nothing to learn from: " + describe(facts)});
    plan.reason = "no family can learn from " + describe(facts);
    return plan;
  }
  for (const auto* f : allowed) {
    if (auto why = unfit(*f, facts, o); !why.empty())
      plan.skipped.push_back({f->name, std::move(why)});
    else
      fit.push_back(f);
  }
  if (fit.empty() && !allowed.empty()) {
    fit.push_back(allowed.front());
    plan.skipped.erase(plan.skipped.begin());
  }
  std::stable_sort(fit.begin(), fit.end(), [](const auto* a, const auto* b) { return is_network(*a) < is_network(*b); });
  // One trial each is the least; with a large budget three, so that one unlucky default does not decide.
  const auto affordable = static_cast<std::uint64_t>(o.share * static_cast<double>(budget.trials));
  const std::uint64_t families = std::max<std::size_t>(1, fit.size());
  const std::uint64_t trials = fit.size() <= 1 ? 1 : std::clamp<std::uint64_t>(affordable / families, 1, 3);
  std::uint64_t left = budget.trials;
  for (const auto* f : fit) {
    if (left == 0) {
      plan.skipped.push_back({f->name, "the budget of " + std::to_string(budget.trials) + " trials leaves none for it"});
      continue;
    }
    plan.looks.push_back(look_at(*f, facts, budget, o.share / static_cast<double>(families), std::min(trials, left)));
    left -= plan.looks.back().trials;
  }
  plan.reason = plan.looks.size() == 1
                    ? "only " + plan.looks[0].family + " is looked at; its defaults are tried before its space is searched"
                    : "a cheap look at " + std::to_string(plan.looks.size()) + " families on the same folds, cheapest first, for at most " +
                          format_percent(o.share, 0) + " of the budget; the data: " + describe(facts);
  return plan;
}

family_difference compare_families(const family_evidence& leader, const family_evidence& other, bool maximise,
                                   double confidence) {
  const double sign = maximise ? 1 : -1;
  const bool folds = leader.fold_values.size() >= 2 && leader.fold_values.size() == other.fold_values.size();
  spread s{sign * (leader.value - other.value), std::hypot(leader.standard_error, other.standard_error), 0};
  if (folds)
    s = paired(leader.fold_values, other.fold_values, sign);
  family_difference d;
  d.mean = s.mean;
  const double level = 0.5 + 0.5 * confidence;
  if (!std::isfinite(s.mean) || !std::isfinite(s.error)) {
    d.low = d.high = s.mean;
    d.text = "their values cannot be compared";
    return d;
  }
  const double reach = s.error * (folds ? student_t_quantile(level, s.df) : normal_quantile(level));
  d.low = s.mean - reach;
  d.high = s.mean + reach;
  if (s.error > 0)
    d.confidence = folds ? student_t_cdf(s.mean / s.error, s.df) : normal_cdf(s.mean / s.error);
  else
    d.confidence = s.mean > 0 ? 1 : s.mean < 0 ? 0 : 0.5;
  d.text = other.family + " reaches " + number(other.value) + " against " + number(leader.value) + " of " +
           leader.family + ": worse by " + number(s.mean) + " (" + format_percent(confidence, 0) + " interval " +
           number(d.low) + " to " + number(d.high) +
           (folds ? " over the same " + std::to_string(leader.fold_values.size()) + " folds" : ", not paired") +
           "), with " + format_percent(d.confidence, 1) + " confidence";
  return d;
}

family_choice choose_families(const std::vector<family_evidence>& evidence, bool maximise, const choice_options& o) {
  family_choice choice;
  std::vector<const family_evidence*> ranked;
  for (const auto& e : evidence) {
    if (!e.trial.empty() && std::isfinite(e.value))
      ranked.push_back(&e);
    else
      choice.dropped.push_back({e.family, "none of its " + std::to_string(e.trials) + " trials completed" +
                                              (e.failure.empty() ? "" : ": " + e.failure)});
  }
  if (ranked.empty()) {
    choice.reason = "no trial of any family completed";
    return choice;
  }
  std::stable_sort(ranked.begin(), ranked.end(), [&](const auto* a, const auto* b) {
    return maximise ? a->value > b->value : a->value < b->value;
  });
  const auto& leader = *ranked.front();
  const std::string lead = leader.family + " leads with " + number(leader.value) + " (standard error " +
                           number(leader.standard_error) + ", " + seconds_text(leader.seconds) + " a trial)";
  choice.kept.push_back({leader.family, 1, lead});
  for (std::size_t i = 1; i < ranked.size(); ++i) {
    const auto& e = *ranked[i];
    const auto d = compare_families(leader, e, maximise, o.confidence);
    const double cost = leader.seconds > 0 ? e.seconds / leader.seconds : 1;
    if (d.confidence >= o.confidence)
      choice.dropped.push_back({e.family, d.text});
    else if (cost > o.cost_ratio_max && d.confidence >= o.cost_confidence)
      choice.dropped.push_back({e.family, d.text + "; that alone would not decide, but a trial costs " +
                                              seconds_text(e.seconds) + " against " + seconds_text(leader.seconds)});
    else if (choice.kept.size() >= o.kept_max)
      choice.dropped.push_back({e.family, d.text + "; it cannot be told apart, but the budget is shared by " +
                                              std::to_string(o.kept_max) + " families at most"});
    else {
      // The surer the leader is, the more it gets; never all, or the other could as well be dropped.
      const double share = 1 - std::clamp(d.confidence, 0.5, 0.8);
      choice.kept.push_back({e.family, share, "cannot be told apart from " + leader.family + " yet: " + d.text});
    }
  }
  double others = 0;
  for (std::size_t i = 1; i < choice.kept.size(); ++i)
    others += choice.kept[i].share;
  if (others > 0.5)
    for (std::size_t i = 1; i < choice.kept.size(); ++i)
      choice.kept[i].share *= 0.5 / others;
  choice.kept.front().share = 1 - std::min(others, 0.5);
  choice.reason = lead;
  if (choice.kept.size() > 1) {
    std::vector<std::string> shares;
    for (const auto& k : choice.kept)
      shares.push_back(k.family + " " + format_percent(k.share, 0));
    choice.reason += "; the budget is shared: " + join(shares, ", ");
  } else {
    choice.reason += "; its space gets the whole budget";
  }
  return choice;
}

} // namespace flywheel
