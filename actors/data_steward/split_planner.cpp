#include "actors/data_steward/split_planner.hpp"

#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace flywheel {
namespace {

using rows = std::vector<std::uint32_t>;

std::uint64_t order_of(std::uint64_t identity) {
  return stable_hash({reinterpret_cast<const char*>(&identity), sizeof identity}, 0x5eed0f5911700001ULL);
}

void by_hash(rows& xs, const std::vector<std::uint64_t>& identity) {
  std::sort(xs.begin(), xs.end(), [&](std::uint32_t a, std::uint32_t b) {
    const auto x = order_of(identity[a]), y = order_of(identity[b]);
    return x != y ? x < y : a < b;
  });
}

/// Each stratum gives its exact share; the rows that rounding leaves over go to the largest remainders.
rows stratified(const split_input& in, std::size_t wanted) {
  std::map<std::int64_t, rows> strata;
  for (std::uint32_t i = 0; i < in.identity.size(); ++i)
    strata[in.stratum[i]].push_back(i);
  struct share {
    rows* members;
    std::size_t whole;
    double remainder;
  };
  std::vector<share> shares;
  std::size_t given = 0;
  for (auto& [label, members] : strata) {
    by_hash(members, in.identity);
    const double exact = static_cast<double>(members.size()) * static_cast<double>(wanted) / static_cast<double>(in.identity.size());
    const auto whole = static_cast<std::size_t>(exact);
    shares.push_back({&members, whole, exact - static_cast<double>(whole)});
    given += whole;
  }
  std::vector<std::size_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return shares[a].remainder > shares[b].remainder; });
  for (std::size_t i = 0; given < wanted && i < order.size(); ++i)
    if (share& s = shares[order[i]]; s.whole < s.members->size())
      ++s.whole, ++given;
  rows out;
  for (const share& s : shares)
    out.insert(out.end(), s.members->begin(), s.members->begin() + static_cast<std::ptrdiff_t>(s.whole));
  return out;
}

/// Whole groups in hash order until the wish is met; a group that would overshoot by more than it helps is passed over.
rows grouped(const split_input& in, std::size_t wanted) {
  std::map<std::uint64_t, rows> groups;
  for (std::uint32_t i = 0; i < in.identity.size(); ++i)
    groups[in.group[i]].push_back(i);
  std::vector<const rows*> order;
  std::vector<std::pair<std::uint64_t, const rows*>> keyed;
  for (const auto& [group, members] : groups)
    keyed.emplace_back(order_of(group), &members);
  std::sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second->front() < b.second->front();
  });
  rows out;
  for (const auto& [hash, members] : keyed) {
    if (out.size() >= wanted)
      break;
    const std::size_t short_of = wanted - out.size();
    if (members->size() <= 2 * short_of || out.empty())
      out.insert(out.end(), members->begin(), members->end());
  }
  return out;
}

} // namespace

result<split_plan> plan_split(const data_split& wish, const split_input& in) {
  const std::size_t n = in.identity.size();
  const std::size_t wanted = wish.holdout_rows ? static_cast<std::size_t>(*wish.holdout_rows)
                                               : static_cast<std::size_t>(std::llround(wish.holdout * static_cast<double>(n)));
  if (wanted == 0 || wanted >= n)
    return error{errc::invalid_data, std::to_string(wanted) + " of " + std::to_string(n) + " rows cannot be held out",
                 "data.split", "both parts need at least one row; set holdout or holdout_rows accordingly"};
  rows all(n);
  std::iota(all.begin(), all.end(), 0U);
  split_plan plan;
  if (wish.strategy == "stratified") {
    plan.holdout = stratified(in, wanted);
    plan.reason = "every class (or part of the target's range) gives the same share";
  } else if (wish.strategy == "random") {
    by_hash(all, in.identity);
    plan.holdout.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(wanted));
    plan.reason = "rows drawn by a stable hash of their number";
  } else if (wish.strategy == "grouped") {
    plan.holdout = grouped(in, wanted);
    plan.reason = "whole groups of '" + wish.group + "', so that none is on both sides";
  } else if (wish.strategy == "time") {
    std::stable_sort(all.begin(), all.end(), [&](std::uint32_t a, std::uint32_t b) {
      const double x = std::isnan(in.time[a]) ? -INFINITY : in.time[a], y = std::isnan(in.time[b]) ? -INFINITY : in.time[b];
      return x < y;
    });
    plan.holdout.assign(all.end() - static_cast<std::ptrdiff_t>(wanted), all.end());
    plan.reason = "the newest rows, as in production the future is predicted from the past";
  } else if (wish.strategy == "tail") {
    plan.holdout.assign(all.end() - static_cast<std::ptrdiff_t>(wanted), all.end());
    plan.reason = "the last rows of the file, as asked";
  } else {
    return error{errc::invalid_argument, "'" + printable(wish.strategy, 40) + "' is no way to split", "data.split.strategy",
                 "use stratified, random, grouped, time or tail"};
  }
  std::sort(plan.holdout.begin(), plan.holdout.end());
  if (plan.holdout.empty() || plan.holdout.size() >= n)
    return error{errc::invalid_data, "a single group holds nearly all rows, so they cannot be split by group", "data.split.group",
                 "choose another column or strategy"};
  plan.train.reserve(n - plan.holdout.size());
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < n; ++i)
    if (next < plan.holdout.size() && plan.holdout[next] == i)
      ++next;
    else
      plan.train.push_back(i);
  return plan;
}

} // namespace flywheel
