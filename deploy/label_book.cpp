#include "deploy/label_book.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace flywheel {

label_book::label_book(std::shared_ptr<const tabular_model> champion, std::shared_ptr<const tabular_model> challenger,
                       std::size_t answers_max)
    : champion_{std::move(champion), {}}, challenger_{std::move(challenger), {}}, answers_max_(std::max<std::size_t>(2, answers_max)) {
  if (!champion_.model || !challenger_.model)
    return;
  champion_.to_other = translation(champion_.model->signature(), challenger_.model->signature());
  challenger_.to_other = translation(challenger_.model->signature(), champion_.model->signature());
}

std::optional<std::vector<label_book::source>> label_book::translation(const model_signature& from, const model_signature& to) {
  if (from.type != to.type)
    return std::nullopt;
  std::vector<source> out;
  for (const auto& wanted : to.inputs) {
    const auto i = std::find_if(from.inputs.begin(), from.inputs.end(), [&](const auto& x) { return x.name == wanted.name; });
    if (i == from.inputs.end() || i->categories.empty() != wanted.categories.empty())
      return std::nullopt;
    source s{static_cast<std::size_t>(i - from.inputs.begin()), {}};
    for (const auto& category : i->categories) {
      const auto j = std::find(wanted.categories.begin(), wanted.categories.end(), category);
      s.codes.push_back(j == wanted.categories.end() ? unseen_category : static_cast<float>(j - wanted.categories.begin()));
    }
    // A row keeps of an unknown category only that it was unknown. If the other model knows more categories, it might have known this one.
    const bool knows_more = std::any_of(wanted.categories.begin(), wanted.categories.end(), [&](const auto& category) {
      return std::find(i->categories.begin(), i->categories.end(), category) == i->categories.end();
    });
    s.codes.push_back(knows_more ? std::numeric_limits<float>::infinity() : unseen_category); // the last one: for "unseen"
    if (wanted.categories.empty())
      s.codes.clear();
    out.push_back(std::move(s));
  }
  return out;
}

void label_book::answered(const std::string& id, bool challenger, std::vector<float> features, std::vector<float> outputs) {
  if (waiting_.size() >= answers_max_)
    forget_oldest();
  waiting_[id] = {challenger, next_order_++, std::move(features), std::move(outputs)};
}

/// Half of them at once, so that a long rollout pays for it seldom.
void label_book::forget_oldest() {
  std::vector<std::uint64_t> orders;
  orders.reserve(waiting_.size());
  for (const auto& [id, a] : waiting_)
    orders.push_back(a.order);
  const auto middle = orders.begin() + static_cast<std::ptrdiff_t>(orders.size() / 2);
  std::nth_element(orders.begin(), middle, orders.end());
  std::erase_if(waiting_, [limit = *middle](const auto& entry) { return entry.second.order < limit; });
}

std::optional<double> label_book::score(const model_signature& s, const std::vector<float>& outputs, const std::string& label) {
  if (outputs.empty())
    return std::nullopt;
  if (s.type == task_type::regression) {
    double truth = 0;
    const auto [end, problem] = std::from_chars(label.data(), label.data() + label.size(), truth);
    if (problem != std::errc{} || end != label.data() + label.size() || !std::isfinite(truth))
      return std::nullopt;
    return -std::abs(truth - static_cast<double>(outputs[0]));
  }
  const auto best = static_cast<std::size_t>(std::max_element(outputs.begin(), outputs.end()) - outputs.begin());
  return best < s.classes.size() && s.classes[best] == label ? 1.0 : 0.0;
}

std::optional<double> label_book::ask_other(const answer& a, const std::string& label) const {
  const side& here = a.challenger ? challenger_ : champion_;
  const side& there = a.challenger ? champion_ : challenger_;
  if (!here.to_other || a.features.size() != here.model->signature().inputs.size())
    return std::nullopt;
  std::vector<float> row;
  row.reserve(here.to_other->size());
  for (const auto& s : *here.to_other) {
    float x = a.features[s.column];
    if (!s.codes.empty() && !std::isnan(x) && x != -1) {
      if (x != unseen_category && !(x >= 0 && x < static_cast<float>(s.codes.size() - 1)))
        return std::nullopt;
      x = x == unseen_category ? s.codes.back() : s.codes[static_cast<std::size_t>(x)];
      if (std::isinf(x))
        return std::nullopt;
    }
    row.push_back(x);
  }
  std::vector<float> outputs(there.model->signature().outputs());
  there.model->predict(row, 1, outputs);
  return score(there.model->signature(), outputs, label);
}

std::optional<judged_answer> label_book::judge(const std::string& id, const std::string& label) {
  const auto i = waiting_.find(id);
  if (i == waiting_.end())
    return std::nullopt;
  const answer a = std::move(i->second);
  waiting_.erase(i);
  const side& here = a.challenger ? challenger_ : champion_;
  const auto own = here.model ? score(here.model->signature(), a.outputs, label) : std::nullopt;
  if (!own)
    return std::nullopt;
  return judged_answer{a.challenger, *own, ask_other(a, label)};
}

} // namespace flywheel
