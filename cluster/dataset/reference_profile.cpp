#include "cluster/dataset/reference_profile.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

namespace flywheel {
namespace {

double as_float(double x) { return static_cast<double>(static_cast<float>(x)); }

/// Edges at equal counts of the sorted values. A value with many ties gets an edge of its own, so that discrete columns
/// (0, 1, 2, ...) are described exactly.
std::vector<double> quantile_edges(const std::vector<double>& sorted) {
  std::vector<double> edges;
  if (sorted.empty())
    return edges;
  std::vector<double> distinct;
  for (double x : sorted) {
    if (distinct.empty() || x > distinct.back())
      distinct.push_back(x);
    if (distinct.size() > profile_bins_max)
      break;
  }
  if (distinct.size() <= profile_bins_max) {
    distinct.pop_back(); // the largest value needs no edge: the last bin holds it
    return distinct;
  }
  for (std::size_t i = 1; i < profile_bins_max; ++i) {
    const double edge = sorted[i * (sorted.size() - 1) / profile_bins_max];
    if ((edges.empty() || edge > edges.back()) && edge < sorted.back())
      edges.push_back(edge);
  }
  return edges;
}

feature_profile numeric_profile(std::string name, const std::vector<double>& numbers) {
  feature_profile p;
  p.name = std::move(name);
  p.type = column_type::numeric;
  std::vector<double> finite;
  finite.reserve(numbers.size());
  for (double x : numbers) {
    const double rounded = as_float(x);
    if (std::isfinite(rounded))
      finite.push_back(rounded);
  }
  std::sort(finite.begin(), finite.end());
  p.edges = quantile_edges(finite);
  p.counts.assign(p.edges.size() + 1, 0);
  for (double x : numbers) {
    if (const auto bin = p.bin_of(x))
      ++p.counts[*bin];
    else
      ++p.missing;
  }
  return p;
}

nlohmann::json feature_to_json(const feature_profile& f) {
  nlohmann::json j{{"name", f.name}, {"type", std::string(name_of(f.type))}, {"counts", f.counts}, {"missing", f.missing}};
  if (f.type == column_type::numeric)
    j["edges"] = f.edges;
  else
    j["categories"] = f.categories;
  return j;
}

error bad(std::string what, std::string where) { return {errc::invalid_format, std::move(what), std::move(where)}; }

/// Counts above this would let sums overflow; no data set has so many rows.
constexpr std::uint64_t count_max = std::uint64_t{1} << 53;

result<std::uint64_t> read_count(const nlohmann::json& j, const std::string& where) {
  if (!j.is_number_unsigned() || j.get<std::uint64_t>() > count_max)
    return bad("expected a count of rows", where);
  return j.get<std::uint64_t>();
}

result<feature_profile> feature_from_json(const nlohmann::json& j, const std::string& where) {
  if (!j.is_object())
    return bad("expected an object", where);
  feature_profile f;
  const auto name = j.find("name"), type = j.find("type"), counts = j.find("counts"), missing = j.find("missing");
  if (name == j.end() || !name->is_string())
    return bad("expected a name", where + ".name");
  f.name = name->get<std::string>();
  if (type == j.end() || (*type != "numeric" && *type != "categorical"))
    return bad("expected \"numeric\" or \"categorical\"", where + ".type");
  f.type = *type == "numeric" ? column_type::numeric : column_type::categorical;
  if (counts == j.end() || !counts->is_array())
    return bad("expected a list of counts", where + ".counts");
  if (counts->size() > limits::categories_max)
    return bad("too many counts", where + ".counts");
  for (const auto& c : *counts) {
    FLYWHEEL_TRY(const auto n, read_count(c, where + ".counts"));
    f.counts.push_back(n);
  }
  if (missing == j.end())
    return bad("expected a count of missing rows", where + ".missing");
  FLYWHEEL_TRY(f.missing, read_count(*missing, where + ".missing"));

  if (f.type == column_type::numeric) {
    const auto edges = j.find("edges");
    if (edges == j.end() || !edges->is_array() || edges->size() + 1 != f.counts.size())
      return bad("expected one edge fewer than counts", where + ".edges");
    if (edges->size() >= profile_bins_max)
      return bad("too many edges", where + ".edges");
    for (const auto& e : *edges) {
      if (!e.is_number() || !std::isfinite(e.get<double>()) || (!f.edges.empty() && e.get<double>() <= f.edges.back()))
        return bad("expected increasing numbers", where + ".edges");
      f.edges.push_back(e.get<double>());
    }
    return f;
  }
  const auto categories = j.find("categories");
  if (categories == j.end() || !categories->is_array() || categories->size() != f.counts.size())
    return bad("expected as many categories as counts", where + ".categories");
  std::unordered_set<std::string> seen;
  for (const auto& c : *categories) {
    if (!c.is_string() || !seen.insert(c.get<std::string>()).second)
      return bad("expected distinct names", where + ".categories");
    f.categories.push_back(c.get<std::string>());
  }
  return f;
}

} // namespace

std::uint64_t feature_profile::rows() const noexcept {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) + missing;
}

std::optional<std::size_t> feature_profile::bin_of(double x) const noexcept {
  if (std::isnan(x))
    return std::nullopt;
  return static_cast<std::size_t>(std::lower_bound(edges.begin(), edges.end(), as_float(x)) - edges.begin());
}

std::optional<std::size_t> feature_profile::category_of(std::string_view text) const noexcept {
  const auto at = std::find(categories.begin(), categories.end(), text);
  if (at == categories.end())
    return std::nullopt;
  return static_cast<std::size_t>(at - categories.begin());
}

const feature_profile* reference_profile::find(std::string_view name) const noexcept {
  const auto at = std::find_if(features.begin(), features.end(), [&](const auto& f) { return f.name == name; });
  return at == features.end() ? nullptr : &*at;
}

feature_profile build_feature_profile(std::string name, const std::vector<double>& numbers) {
  return numeric_profile(std::move(name), numbers);
}

feature_profile build_feature_profile(const column& c) {
  if (c.type == column_type::numeric)
    return numeric_profile(c.name, c.numbers);
  feature_profile p;
  p.name = c.name;
  p.type = column_type::categorical;
  p.categories = c.categories;
  p.counts.assign(c.categories.size(), 0);
  for (auto code : c.codes) {
    if (code >= 0 && static_cast<std::size_t>(code) < p.counts.size())
      ++p.counts[static_cast<std::size_t>(code)];
    else
      ++p.missing;
  }
  return p;
}

reference_profile build_profile(const table& t, std::string_view target) {
  reference_profile p;
  p.rows = t.rows();
  for (const auto& c : t.columns) {
    if (c.name == target && !target.empty())
      p.target = build_feature_profile(c);
    else
      p.features.push_back(build_feature_profile(c));
  }
  return p;
}

nlohmann::json to_json(const reference_profile& p) {
  nlohmann::json j{{"version", p.version}, {"rows", p.rows}, {"features", nlohmann::json::array()}};
  for (const auto& f : p.features)
    j["features"].push_back(feature_to_json(f));
  if (p.target)
    j["target"] = feature_to_json(*p.target);
  if (p.prediction)
    j["prediction"] = feature_to_json(*p.prediction);
  return j;
}

result<reference_profile> profile_from_json(const nlohmann::json& j) {
  if (!j.is_object())
    return bad("expected an object", "profile");
  const auto version = j.find("version"), rows = j.find("rows"), features = j.find("features");
  if (version == j.end() || !version->is_number_unsigned())
    return bad("expected a version", "profile.version");
  if (*version != 1u)
    return error{errc::incompatible_version, "reference profile of version " + version->dump() + ", this program reads 1",
                 "profile.version"};
  reference_profile p;
  if (rows == j.end())
    return bad("expected a count of rows", "profile.rows");
  FLYWHEEL_TRY(p.rows, read_count(*rows, "profile.rows"));
  if (features == j.end() || !features->is_array() || features->size() > limits::data_columns_max)
    return bad("expected a list of features", "profile.features");
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; i < features->size(); ++i) {
    const std::string where = "profile.features[" + std::to_string(i) + "]";
    FLYWHEEL_TRY(auto f, feature_from_json((*features)[i], where));
    if (f.rows() != p.rows)
      return bad("counts do not add up to the number of rows", where + ".counts");
    if (!names.insert(f.name).second)
      return bad("the name repeats", where + ".name");
    p.features.push_back(std::move(f));
  }
  if (const auto target = j.find("target"); target != j.end()) {
    FLYWHEEL_TRY(p.target, feature_from_json(*target, "profile.target"));
  }
  if (const auto prediction = j.find("prediction"); prediction != j.end()) {
    FLYWHEEL_TRY(p.prediction, feature_from_json(*prediction, "profile.prediction"));
  }
  return p;
}

} // namespace flywheel
