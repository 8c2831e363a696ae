#include "deploy/server/server_metrics.hpp"

#include "cluster/base/text.hpp"

#include <algorithm>

namespace flywheel {
namespace {

std::size_t status_index(int status) noexcept {
  const auto i = std::find(counted_statuses.begin(), counted_statuses.end(), status);
  return static_cast<std::size_t>((i == counted_statuses.end() ? counted_statuses.end() - 2 : i) - counted_statuses.begin());
}

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ").append(name).append(" ").append(type);
  out += '\n';
}

double count(const std::atomic<std::uint64_t>& x) { return static_cast<double>(x.load(std::memory_order_relaxed)); }

} // namespace

version_metrics::version_metrics(std::string version_, std::vector<std::string> inputs_)
    : version(std::move(version_)), inputs(std::move(inputs_)),
      unknown_categories(new std::atomic<std::uint64_t>[inputs.size()]()) {}

void version_metrics::count_request(int status, std::int64_t ns) noexcept {
  const double s = static_cast<double>(ns) * 1e-9;
  std::size_t bucket = 0;
  while (bucket < latency_bounds_s.size() && s > latency_bounds_s[bucket])
    ++bucket;
  requests[status_index(status)].fetch_add(1, std::memory_order_relaxed);
  buckets[bucket].fetch_add(1, std::memory_order_relaxed);
  latency_ns.fetch_add(static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0)), std::memory_order_relaxed);
}

server_metrics::server_metrics() : no_model_(std::make_shared<version_metrics>("", std::vector<std::string>{})) {}

std::shared_ptr<version_metrics> server_metrics::of(const std::string& version, const std::vector<std::string>& inputs) {
  const std::scoped_lock lock{mutex_};
  const auto known = std::find_if(versions_.begin(), versions_.end(), [&](const auto& v) { return v->version == version; });
  if (known != versions_.end() && (*known)->inputs == inputs)
    return *known;
  if (known != versions_.end())
    versions_.erase(known);
  if (versions_.size() == versions_max)
    versions_.erase(versions_.begin());
  return versions_.emplace_back(std::make_shared<version_metrics>(version, inputs));
}

void server_metrics::write(std::string& out) const {
  std::vector<std::shared_ptr<version_metrics>> all{no_model_};
  {
    const std::scoped_lock lock{mutex_};
    all.insert(all.end(), versions_.begin(), versions_.end());
  }
  const auto label = [](const version_metrics& v) { return "version=\"" + escape_label(v.version) + "\""; };

  head(out, "flywheel_requests_total", "counter", "Requests answered, by model version (empty: none was reached) and status.");
  for (const auto& v : all)
    for (std::size_t i = 0; i < counted_statuses.size(); ++i)
      if (const double n = count(v->requests[i]); n > 0)
        append_sample(out, "flywheel_requests_total",
                      label(*v) + ",status=\"" + std::to_string(counted_statuses[i]) + "\"", n);

  head(out, "flywheel_request_seconds", "histogram", "Time from the parsed request to the answer handed to the socket.");
  for (const auto& v : all) {
    if (v == no_model_)
      continue;
    double sum = 0;
    for (std::size_t i = 0; i <= latency_bounds_s.size(); ++i) {
      sum += count(v->buckets[i]);
      const std::string bound = i < latency_bounds_s.size() ? format_number(latency_bounds_s[i]) : "+Inf";
      append_sample(out, "flywheel_request_seconds_bucket", label(*v) + ",le=\"" + bound + "\"", sum);
    }
    append_sample(out, "flywheel_request_seconds_sum", label(*v), count(v->latency_ns) * 1e-9);
    append_sample(out, "flywheel_request_seconds_count", label(*v), sum);
  }

  head(out, "flywheel_rows_total", "counter", "Rows predicted.");
  for (const auto& v : all)
    if (v != no_model_)
      append_sample(out, "flywheel_rows_total", label(*v), count(v->rows));

  head(out, "flywheel_unknown_categories_total", "counter", "Values that were not a category the model knows.");
  for (const auto& v : all)
    for (std::size_t i = 0; i < v->inputs.size(); ++i)
      if (const double n = count(v->unknown_categories[i]); n > 0)
        append_sample(out, "flywheel_unknown_categories_total",
                      label(*v) + ",input=\"" + escape_label(v->inputs[i]) + "\"", n);
}

void append_sample(std::string& out, std::string_view name, std::string_view labels, double value) {
  out += name;
  if (!labels.empty())
    out.append("{").append(labels).append("}");
  out += ' ';
  out += format_number(value);
  out += '\n';
}

std::string escape_label(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"')
      out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

} // namespace flywheel
