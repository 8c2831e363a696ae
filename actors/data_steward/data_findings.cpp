#include "actors/data_steward/data_findings.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <unordered_set>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace flywheel {
namespace {

constexpr std::size_t sample_max = 200'000, pair_sample_max = 5'000;
/// A rule on one column that is right this often is no luck, if guessing is not.
constexpr double leak_accuracy = 0.999, guess_accuracy_max = 0.99, leak_auc = 0.9995, leak_correlation = 0.99999;
constexpr double redundant_deviation = 1e-2;

std::string in_quotes(std::string_view text) { return "'" + printable(text, 80) + "'"; }

/// Every k-th row, so that at most `max` are looked at.
std::vector<std::uint32_t> sample(std::size_t rows, std::size_t max) {
  const std::size_t step = std::max<std::size_t>(1, (rows + max - 1) / max);
  std::vector<std::uint32_t> out;
  for (std::size_t i = 0; i < rows; i += step)
    out.push_back(static_cast<std::uint32_t>(i));
  return out;
}

/// Case, blanks and the characters that stand for blanks do not count.
std::string folded(std::string_view text) {
  std::string out;
  for (const char c : lower(trim(text)))
    if (c != ' ' && c != '_' && c != '-' && c != '\t')
      out += c;
  return out;
}

/// A column as small integers: categories, or values of equal rank cut into at most 256 bins. -1: missing.
std::vector<std::int32_t> binned(const column& c, const std::vector<std::uint32_t>& rows) {
  std::vector<std::int32_t> out;
  out.reserve(rows.size());
  if (c.type == column_type::categorical) {
    for (const auto i : rows)
      out.push_back(c.codes[i]);
    return out;
  }
  std::vector<double> sorted;
  for (const auto i : rows)
    if (!std::isnan(c.numbers[i]))
      sorted.push_back(c.numbers[i]);
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> edges = sorted;
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  if (edges.size() > 256) {
    edges.clear();
    for (std::size_t k = 1; k <= 256; ++k)
      edges.push_back(sorted[k * sorted.size() / 256 - 1]);
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  }
  for (const auto i : rows)
    out.push_back(std::isnan(c.numbers[i])
                      ? -1
                      : static_cast<std::int32_t>(std::lower_bound(edges.begin(), edges.end(), c.numbers[i]) - edges.begin()));
  return out;
}

struct rule_quality {
  double accuracy = 0;   ///< of "the commonest class of the other rows with this value"
  bool one_to_one = false;
};

/// Leaving the row itself out keeps columns whose every value is new from looking like oracles.
rule_quality single_column_rule(const std::vector<std::int32_t>& values, const std::vector<std::int32_t>& classes) {
  std::map<std::int32_t, std::map<std::int32_t, std::uint64_t>> seen;
  for (std::size_t i = 0; i < values.size(); ++i)
    ++seen[values[i]][classes[i]];
  std::uint64_t right = 0;
  bool pure = true;
  std::map<std::int32_t, int> values_of_class;
  for (const auto& [value, counts] : seen) {
    pure &= counts.size() == 1;
    for (const auto& [label, n] : counts) {
      std::uint64_t others = 0;
      for (const auto& [l, m] : counts)
        if (l != label)
          others = std::max(others, m);
      if (n > 1 && n - 1 > others)
        right += n;
      ++values_of_class[label];
    }
  }
  const bool one_value_each = std::all_of(values_of_class.begin(), values_of_class.end(), [](const auto& v) { return v.second == 1; });
  return {static_cast<double>(right) / static_cast<double>(std::max<std::size_t>(1, values.size())), pure && one_value_each};
}

/// Probability that a row of class 1 has a larger value than one of class 0, ties counting half; missing values left out.
double area_under_curve(const column& c, const std::vector<std::uint32_t>& rows, const std::vector<std::int32_t>& classes) {
  std::vector<std::pair<double, std::int32_t>> xs;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (!std::isnan(c.numbers[rows[i]]))
      xs.emplace_back(c.numbers[rows[i]], classes[i]);
  std::sort(xs.begin(), xs.end());
  double ranks = 0, ones = 0;
  for (std::size_t i = 0; i < xs.size();) {
    std::size_t j = i;
    double in_tie = 0;
    while (j < xs.size() && xs[j].first == xs[i].first)
      in_tie += xs[j++].second == 1;
    ranks += in_tie * (static_cast<double>(i + j + 1) / 2);
    ones += in_tie;
    i = j;
  }
  const double zeros = static_cast<double>(xs.size()) - ones;
  return ones == 0 || zeros == 0 ? 0.5 : (ranks - ones * (ones + 1) / 2) / (ones * zeros);
}

struct line_fit {
  double correlation = 0, slope = 0, intercept = 0;
  std::size_t rows = 0;
};

line_fit fit_line(const column& x, const column& y, const std::vector<std::uint32_t>& rows) {
  double n = 0, mx = 0, my = 0, sxx = 0, syy = 0, sxy = 0;
  for (const auto i : rows) {
    const double a = x.numbers[i], b = y.numbers[i];
    if (std::isnan(a) || std::isnan(b))
      continue;
    ++n;
    const double dx = a - mx, dy = b - my;
    mx += dx / n;
    my += dy / n;
    sxx += dx * (a - mx);
    syy += dy * (b - my);
    sxy += dx * (b - my);
  }
  if (sxx <= 0 || syy <= 0)
    return {};
  const double slope = sxy / sxx;
  return {sxy / std::sqrt(sxx * syy), slope, my - slope * mx, static_cast<std::size_t>(n)};
}

std::string four_digits(double x) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", x);
  return text.data();
}

/// To ten binary digits of mantissa, about three decimal ones (0.05 %).
double rounded(double x) {
  constexpr std::uint64_t dropped = (std::uint64_t{1} << 42) - 1;
  if (!std::isfinite(x))
    return x;
  return std::bit_cast<double>((std::bit_cast<std::uint64_t>(x) + (dropped >> 1) + 1) & ~dropped);
}

} // namespace

std::vector<data_finding> find_spellings(std::string_view name,
                                         const std::vector<std::pair<std::string, std::uint64_t>>& counts) {
  std::map<std::string, std::vector<std::pair<std::string, std::uint64_t>>> groups;
  for (const auto& c : counts)
    groups[folded(c.first)].push_back(c);
  std::vector<data_finding> out;
  for (auto& [word, spellings] : groups) {
    if (spellings.size() < 2 || word.empty())
      continue;
    std::sort(spellings.begin(), spellings.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    std::vector<std::string> told;
    for (const auto& [text, n] : spellings)
      told.push_back(in_quotes(text) + " (" + std::to_string(n) + ")");
    out.push_back({"spelling", severity::warning, std::string{name},
                   "column " + in_quotes(name) + " spells one value in several ways: " + join(told, ", ") + ".",
                   "write " + in_quotes(spellings.front().first) + " everywhere at the source; until then they count as different values",
                   false});
  }
  return out;
}

std::vector<data_finding> find_idle_columns(const table& t, const std::vector<std::string>& candidates) {
  std::vector<data_finding> out;
  const std::size_t rows = t.rows();
  for (const auto& name : candidates) {
    const column* c = t.find(name);
    if (c == nullptr)
      continue;
    std::size_t present = 0, distinct = 0;
    bool whole_numbers = true;
    if (c->type == column_type::categorical) {
      std::vector<bool> seen(c->categories.size());
      for (const auto code : c->codes)
        if (code >= 0) {
          ++present;
          distinct += !seen[static_cast<std::size_t>(code)];
          seen[static_cast<std::size_t>(code)] = true;
        }
    } else {
      std::unordered_set<double> seen;
      for (const double x : c->numbers)
        if (!std::isnan(x)) {
          ++present;
          whole_numbers &= x == std::floor(x);
          seen.insert(x);
        }
      distinct = seen.size();
    }
    const std::string start = "column " + in_quotes(name);
    if (present == 0)
      out.push_back({"all-null", severity::warning, name, start + " is empty in every row.",
                     "it is left out; find out why it is not filled, or drop it from the source", true});
    else if (distinct == 1 && present == rows)
      out.push_back({"constant", severity::note, name, start + " has the same value in every row.",
                     "it is left out, because it cannot tell rows apart", true});
    else if (rows >= 50 && distinct * 2 > rows && c->type == column_type::categorical)
      out.push_back({"identifier", severity::warning, name,
                     start + " has " + std::to_string(distinct) + " different values in " + std::to_string(rows) +
                         " rows: it names rows instead of describing them.",
                     "it is left out; if it is the key, say so in contract.key", true});
    else if (rows >= 50 && distinct == rows && whole_numbers && c->type == column_type::numeric) {
      const auto order = std::is_sorted(c->numbers.begin(), c->numbers.end());
      const auto [low, high] = std::minmax_element(c->numbers.begin(), c->numbers.end());
      const bool dense = *high - *low < 4 * static_cast<double>(rows);
      if (order || dense)
        out.push_back({"identifier", severity::warning, name,
                       start + " is a different whole number in every row" + (order ? ", rising through the file." : "."),
                       "it is left out as a row number; if it is the key, say so in contract.key", true});
    }
  }
  return out;
}

std::vector<data_finding> find_leaks(const table& t, const std::string& target, bool classification,
                                     const std::vector<std::string>& candidates) {
  std::vector<data_finding> out;
  const column* y = t.find(target);
  if (y == nullptr || t.rows() < 20)
    return out;
  const auto rows = sample(t.rows(), sample_max);
  const auto leak = [&](const std::string& name, severity level, std::string text, std::string advice, bool left_out) {
    out.push_back({"leak", level, name, std::move(text), std::move(advice), left_out});
  };
  if (!classification) {
    for (const auto& name : candidates) {
      const column* x = t.find(name);
      if (x == nullptr || x->type != column_type::numeric)
        continue;
      const auto fit = fit_line(*x, *y, rows);
      if (fit.rows >= 20 && std::abs(fit.correlation) >= leak_correlation)
        leak(name, severity::problem,
             "column " + in_quotes(name) + " is the target " + in_quotes(target) + " in another unit (correlation " +
                 format_number(std::round(fit.correlation * 1e6) / 1e6) + ").",
             "it is left out: nobody knows it before the target is known", true);
    }
    return out;
  }
  std::vector<std::int32_t> classes;
  std::map<std::int32_t, std::uint64_t> class_rows;
  for (const auto i : rows) {
    classes.push_back(y->codes[i]);
    ++class_rows[y->codes[i]];
  }
  std::uint64_t commonest = 0;
  for (const auto& [label, n] : class_rows)
    commonest = std::max(commonest, n);
  const double guess = static_cast<double>(commonest) / static_cast<double>(rows.size());
  for (const auto& name : candidates) {
    const column* x = t.find(name);
    if (x == nullptr)
      continue;
    const auto rule = single_column_rule(binned(*x, rows), classes);
    if (rule.one_to_one && class_rows.size() > 1) {
      leak(name, severity::problem, "column " + in_quotes(name) + " says the same as the target " + in_quotes(target) + ", row by row.",
           "it is left out: a model would only copy it", true);
      continue;
    }
    if (rule.accuracy >= leak_accuracy && guess <= guess_accuracy_max) {
      leak(name, severity::warning,
           "column " + in_quotes(name) + " alone predicts " + in_quotes(target) + " in " + format_percent(rule.accuracy) +
               " of the rows; guessing the commonest class is right in " + format_percent(guess) + ".",
           "check that it is known before " + in_quotes(target) + " is; if not, add it to data.drop", false);
      continue;
    }
    if (class_rows.size() == 2 && x->type == column_type::numeric) {
      std::vector<std::int32_t> ones;
      for (const auto c : classes)
        ones.push_back(c == class_rows.rbegin()->first);
      const double auc = area_under_curve(*x, rows, ones);
      if (std::max(auc, 1 - auc) >= leak_auc)
        leak(name, severity::warning,
             "column " + in_quotes(name) + " alone separates the classes of " + in_quotes(target) + " almost perfectly (AUC " +
                 four_digits(std::max(auc, 1 - auc)) + ").",
             "check that it is known before " + in_quotes(target) + " is; if not, add it to data.drop", false);
    }
  }
  return out;
}

std::vector<data_finding> find_redundant(const table& t, const std::vector<std::string>& candidates) {
  std::vector<data_finding> out;
  const auto rows = sample(t.rows(), pair_sample_max);
  std::vector<const column*> numeric;
  for (const auto& name : candidates)
    if (const column* c = t.find(name); c != nullptr && c->type == column_type::numeric && numeric.size() < 256)
      numeric.push_back(c);
  for (std::size_t j = 1; j < numeric.size(); ++j)
    for (std::size_t i = 0; i < j; ++i) {
      const auto fit = fit_line(*numeric[i], *numeric[j], rows);
      if (fit.rows < 20 || std::abs(fit.correlation) < 0.9999)
        continue;
      const double scale = std::abs(fit.slope) + std::abs(fit.intercept);
      const bool through_zero = std::abs(fit.intercept) < redundant_deviation * std::max(1.0, scale);
      out.push_back({"redundant", severity::note, numeric[j]->name,
                     "column " + in_quotes(numeric[j]->name) + " is " + four_digits(fit.slope) + " * " + in_quotes(numeric[i]->name) +
                         (through_zero ? "" : (fit.intercept < 0 ? " - " : " + ") + four_digits(std::abs(fit.intercept))) +
                         " (correlation " + format_number(std::round(fit.correlation * 1e6) / 1e6) + ").",
                     "it is kept; dropping one of the two loses nothing", false});
      break; // one reason is enough
    }
  return out;
}

duplicate_counts find_duplicates(const table& t, const std::vector<std::string>& names) {
  std::vector<const column*> columns;
  for (const auto& name : names)
    if (const column* c = t.find(name))
      columns.push_back(c);
  duplicate_counts out;
  if (columns.empty())
    return out;
  out.signature.resize(t.rows());
  std::vector<std::uint64_t> coarse_signature(t.rows());
  std::vector<std::uint64_t> cells(columns.size()), coarse(columns.size());
  for (std::size_t row = 0; row < t.rows(); ++row) {
    for (std::size_t k = 0; k < columns.size(); ++k) {
      if (columns[k]->type == column_type::categorical) {
        cells[k] = coarse[k] = static_cast<std::uint64_t>(columns[k]->codes[row]);
      } else {
        const double x = columns[k]->numbers[row];
        cells[k] = std::bit_cast<std::uint64_t>(std::isnan(x) ? std::nan("") : x + 0.0);
        coarse[k] = std::bit_cast<std::uint64_t>(std::isnan(x) ? std::nan("") : rounded(x) + 0.0);
      }
    }
    const auto bytes = cells.size() * sizeof(std::uint64_t);
    out.signature[row] = XXH3_64bits(cells.data(), bytes);
    coarse_signature[row] = XXH3_64bits(coarse.data(), bytes);
  }
  const auto repeats = [](std::vector<std::uint64_t> xs) {
    std::sort(xs.begin(), xs.end());
    return static_cast<std::uint64_t>(xs.end() - std::unique(xs.begin(), xs.end()));
  };
  out.exact = repeats(out.signature);
  out.near = repeats(std::move(coarse_signature)) - out.exact; // what is equal is equal after rounding too
  return out;
}

} // namespace flywheel
