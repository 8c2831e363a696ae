#include "deploy/server/model_service.hpp"

#include "cluster/base/text.hpp"
#include "deploy/server/inference_protocol.hpp"
#include "deploy/server/json_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <new>

namespace flywheel {
namespace {

constexpr std::string_view json_type = "application/json", text_type = "text/plain; version=0.0.4", html_type = "text/html";

int status_of(errc code) noexcept {
  switch (code) {
  case errc::too_large: return 413;
  case errc::not_found: return 404;
  case errc::unreachable: case errc::no_capacity: case errc::out_of_memory: return 503;
  default: return class_of(code) == error_class::bad_input ? 400 : 500;
  }
}

/// The bytes of a row stand in for an id the client did not give.
std::string_view bytes_of(std::span<const float> row) noexcept {
  return {reinterpret_cast<const char*>(row.data()), row.size_bytes()};
}

/// Takes `prefix` off the front of `text` if it is there.
bool take(std::string_view& text, std::string_view prefix) noexcept {
  if (!text.starts_with(prefix))
    return false;
  text.remove_prefix(prefix.size());
  return true;
}

void append_prediction(std::string& out, const prepared_model& p, std::string_view id, std::span<const float> outputs) {
  out += "{\"id\":";
  append_json_string(out, id);
  out += p.answer_middle;
  if (p.class_json.empty()) {
    append_json_number(out, outputs[0]);
    out += '}';
    return;
  }
  out += p.class_json[best_class(outputs)];
  out += ",\"probabilities\":{";
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (i > 0)
      out += ',';
    out += p.class_json[i];
    out += ':';
    append_json_number(out, outputs[i]);
  }
  out += "}}";
}

void count_unknown(const prepared_model& p, const row_batch& rows) noexcept {
  for (const auto i : rows.unknown_inputs)
    p.metrics->unknown_categories[i].fetch_add(1, std::memory_order_relaxed);
}

} // namespace

model_service::model_service(model_server_options options, const time_source& time, std::uint64_t entropy)
    : options_(std::move(options)), time_(time), requests_(options_.observations_max), labels_(options_.observations_max) {
  id_prefix_ = "r-";
  for (int shift = 35; shift >= 0; shift -= 5)
    id_prefix_ += "0123456789abcdefghjkmnpqrstvwxyz"[entropy >> shift & 31];
  id_prefix_ += '-';
  routes_.store(prepare_routes(options_.name, {}, metrics_));
}

void model_service::set_routes(route_table routes) {
  routes_.store(prepare_routes(options_.name, std::move(routes), metrics_));
}

route_table model_service::routes() const { return routes_.load()->table; }

void model_service::answer(const service_question& question, service_answer& out, service_scratch& scratch) noexcept {
  out.status = 200;
  out.content_type = json_type;
  out.allow = {};
  out.body.clear();
  try {
    dispatch(question, out, scratch);
  } catch (const std::bad_alloc&) {
    out.body.clear();
    out.status = 503;
    out.body = R"({"error":"out of memory"})";
  } catch (const std::exception&) {
    out.body.clear();
    out.status = 500;
    out.body = R"({"error":"internal"})";
  }
}

void model_service::fail(service_answer& out, int status, std::string_view what) {
  out.status = status;
  out.content_type = json_type;
  out.body = "{\"error\":";
  append_json_string(out.body, what);
  out.body += '}';
  metrics_.no_model().count_request(status, 0);
}

void model_service::fail(service_answer& out, const error& e) {
  std::string text = e.where.empty() ? e.what : e.where + ": " + e.what;
  if (!e.hint.empty())
    text += "; " + e.hint;
  fail(out, status_of(e.code), text);
}

void model_service::dispatch(const service_question& q, service_answer& out, service_scratch& scratch) {
  const std::string_view path = q.target.substr(0, q.target.find('?'));
  const bool reads = q.verb == http_verb::get || q.verb == http_verb::head;
  const auto needs = [&](bool given, std::string_view allow) {
    if (!given) {
      out.allow = allow;
      fail(out, 405, std::string{path.substr(0, 100)} + " answers " + std::string{allow} + " only");
    }
    return given;
  };
  std::string_view rest = path;
  if (path == "/predict") {
    if (needs(q.verb == http_verb::post, "POST"))
      predict(q.body, out, scratch);
  } else if (path == "/feedback") {
    if (needs(q.verb == http_verb::post, "POST"))
      feedback(q.body, out);
  } else if (path == "/metrics") {
    if (needs(reads, "GET, HEAD"))
      metrics(out);
  } else if (path == "/") {
    if (needs(reads, "GET, HEAD"))
      about(q.accept.find("text/html") != q.accept.npos, out);
  } else if (take(rest, "/v2") && (rest.empty() || rest[0] == '/')) {
    const bool infers = rest.ends_with("/infer");
    if (infers ? needs(q.verb == http_verb::post, "POST") : needs(reads, "GET, HEAD"))
      dispatch_v2(q, rest, out, scratch);
  } else {
    static const std::vector<std::string> known{"/predict", "/feedback", "/metrics", "/v2", "/v2/health/live",
                                                "/v2/health/ready"};
    const auto near = nearest(path, known);
    fail(out, 404, "nothing is at " + printable(path, 100) +
                       (near.empty() ? "; GET / says what is" : "; did you mean " + std::string{near} + "?"));
  }
}

void model_service::dispatch_v2(const service_question& q, std::string_view rest, service_answer& out, service_scratch& scratch) {
  if (rest.empty() || rest == "/")
    return write_server_metadata(out.body, FLYWHEEL_VERSION);
  if (rest == "/health/live") {
    out.body = R"({"live":true})";
    return;
  }
  const auto snapshot = routes_.load();
  if (rest == "/health/ready") {
    const bool ready = snapshot->first() != nullptr;
    out.status = ready ? 200 : 503;
    out.body = ready ? R"({"ready":true})" : R"({"ready":false})";
    return;
  }
  if (!take(rest, "/models/"))
    return fail(out, 404, "nothing is at /v2" + printable(rest, 100) + "; try /v2/models/" + options_.name);
  const auto name = rest.substr(0, rest.find('/'));
  rest.remove_prefix(name.size());
  if (name != options_.name)
    return fail(out, 404, "no model '" + printable(name, 64) + "' is served here; it is '" + options_.name + "'");
  std::string_view version;
  const prepared_model* model = snapshot->first();
  if (take(rest, "/versions/")) {
    version = rest.substr(0, rest.find('/'));
    rest.remove_prefix(version.size());
    model = snapshot->by_version(version);
    if (model == nullptr) {
      std::string served;
      for (const auto* p : {&snapshot->champion, &snapshot->challenger})
        if (*p)
          served += (served.empty() ? "" : ", ") + std::string{protocol_version((*p)->served.version)};
      return fail(out, 404, "version '" + printable(version, 64) + "' of '" + options_.name + "' is not served; " +
                                (served.empty() ? "none is" : "these are: " + served));
    }
  }
  if (rest == "/infer")
    return infer(q.body, version, out, scratch);
  if (rest == "/ready") {
    out.status = model != nullptr ? 200 : 503;
    out.body = "{\"name\":";
    append_json_string(out.body, options_.name);
    out.body += model != nullptr ? ",\"ready\":true}" : ",\"ready\":false}";
    return;
  }
  if (!rest.empty() && rest != "/")
    return fail(out, 404, "nothing is at " + printable(q.target, 100));
  if (model == nullptr)
    return fail(out, 503, "no model is served yet");
  std::vector<std::string> versions;
  for (const auto* p : {&snapshot->champion, &snapshot->challenger})
    if (*p && (version.empty() || &**p == model))
      versions.push_back((*p)->served.version);
  write_model_metadata(out.body, options_.name, versions, model->served.model->family(), model->signature());
}

void model_service::make_id(std::string& out) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, next_id_.fetch_add(1, std::memory_order_relaxed), 36).ptr;
  out.assign(id_prefix_).append(digits, static_cast<std::size_t>(end - digits));
}

bool model_service::run_model(const prepared_model& p, std::span<const float> features, std::size_t rows,
                              std::span<float> outputs, service_answer& out) {
  std::string_view what;
  try {
    p.served.model->predict(features, rows, outputs);
    if (std::all_of(outputs.begin(), outputs.end(), [](float x) { return std::isfinite(x); }))
      return true;
    what = "the model gave a value that is not finite";
  } catch (const std::exception&) {
    what = "the model failed";
  }
  out.status = 500;
  out.body = "{\"error\":";
  append_json_string(out.body, std::string{what} + " [" + p.served.version + "]");
  out.body += '}';
  return false;
}

void model_service::observe(const prepared_model& p, std::string_view id, std::string_view id_suffix, int status,
                            double latency_ms, std::span<const float> features, std::span<const float> outputs) {
  const std::int64_t wall = time_.wall().ns;
  requests_.push([&](served_request& r) {
    r.id.assign(id).append(id_suffix);
    r.version.assign(p.served.version);
    r.challenger = p.challenger;
    r.http_status = status;
    r.latency_ms = latency_ms;
    r.features.assign(features.begin(), features.end());
    r.outputs.assign(outputs.begin(), outputs.end());
    r.wall_ns = wall;
  });
}

void model_service::finish(const prepared_model& p, int status, std::int64_t latency_ns, std::size_t rows) {
  p.metrics->count_request(status, latency_ns);
  p.metrics->rows.fetch_add(rows, std::memory_order_relaxed);
}

void model_service::predict(std::string_view body, service_answer& out, service_scratch& scratch) {
  const mono_time start = time_.mono();
  const auto snapshot = routes_.load();
  const prepared_model* const first = snapshot->first();
  if (first == nullptr)
    return fail(out, 503, "no model is served yet");
  row_batch& rows = scratch.rows;
  if (const auto read = read_rows(first->layout, body, rows); !read)
    return fail(out, read.error());

  // Each row has its own id and its own model; the rows of one model are predicted together.
  const std::size_t width = first->layout.size();
  scratch.places.resize(rows.rows);
  bool any_challenger = false;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    std::string& id = rows.ids[r];
    const std::span<const float> row{rows.features.data() + r * width, width};
    const auto& chosen = snapshot->choose(id.empty() ? bytes_of(row) : std::string_view{id});
    scratch.places[r].model = &chosen;
    any_challenger |= &chosen != first;
    if (id.empty())
      make_id(id);
  }
  row_batch* challenger_rows = &rows;
  if (any_challenger && !snapshot->same_coding) {
    challenger_rows = &scratch.other_rows;
    if (const auto read = read_rows(snapshot->challenger->layout, body, *challenger_rows); !read)
      return fail(out, read.error());
  }

  scratch.outputs.clear();
  const prepared_model* const second = any_challenger ? &*snapshot->challenger : nullptr;
  for (const prepared_model* p : {first, second}) {
    if (p == nullptr || rows.rows == 0)
      continue;
    const row_batch& source = p == first ? rows : *challenger_rows;
    const std::size_t inputs = p->layout.size(), outputs = p->signature().outputs();
    std::size_t count = 0;
    scratch.gathered.clear();
    const std::size_t base = scratch.outputs.size();
    for (std::size_t r = 0; r < rows.rows; ++r)
      if (scratch.places[r].model == p) {
        if (any_challenger)
          scratch.gathered.insert(scratch.gathered.end(), source.features.begin() + static_cast<std::ptrdiff_t>(r * inputs),
                                  source.features.begin() + static_cast<std::ptrdiff_t>((r + 1) * inputs));
        scratch.places[r].offset = base + count++ * outputs;
      }
    if (count == 0)
      continue;
    count_unknown(*p, source);
    scratch.outputs.resize(base + count * outputs);
    const std::vector<float>& features = any_challenger ? scratch.gathered : source.features;
    if (!run_model(*p, features, count, {scratch.outputs.data() + base, count * outputs}, out)) {
      const auto took = time_.mono() - start;
      observe(*p, rows.ids[0], {}, 500, static_cast<double>(took.count()) * 1e-6, {features.data(), inputs}, {});
      return finish(*p, 500, took.count(), count);
    }
  }

  if (rows.array)
    out.body += '[';
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const auto& [model, offset] = scratch.places[r];
    if (r > 0)
      out.body += ',';
    append_prediction(out.body, *model, rows.ids[r], {scratch.outputs.data() + offset, model->signature().outputs()});
  }
  if (rows.array)
    out.body += ']';

  const auto took = time_.mono() - start;
  const double row_ms = static_cast<double>(took.count()) * 1e-6 / static_cast<double>(std::max<std::size_t>(1, rows.rows));
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const auto& [model, offset] = scratch.places[r];
    const row_batch& source = model == first ? rows : *challenger_rows;
    observe(*model, rows.ids[r], {}, 200, row_ms,
            {source.features.data() + r * model->layout.size(), model->layout.size()},
            {scratch.outputs.data() + offset, model->signature().outputs()});
  }
  finish(rows.rows > 0 ? *scratch.places[0].model : *first, 200, took.count(), rows.rows);
}

void model_service::infer(std::string_view body, std::string_view version, service_answer& out, service_scratch& scratch) {
  const mono_time start = time_.mono();
  const auto snapshot = routes_.load();
  const prepared_model* model = version.empty() ? snapshot->first() : snapshot->by_version(version);
  if (model == nullptr)
    return fail(out, 503, "no model is served yet");
  infer_request request;
  row_batch& rows = scratch.rows;
  if (const auto read = read_infer(model->layout, model->signature(), body, request, rows); !read)
    return fail(out, read.error());
  if (version.empty()) {
    const prepared_model& chosen = snapshot->choose(request.id.empty() ? bytes_of(rows.features) : std::string_view{request.id});
    if (&chosen != model && !snapshot->same_coding)
      if (const auto read = read_infer(chosen.layout, chosen.signature(), body, request, rows); !read)
        return fail(out, read.error());
    model = &chosen;
  }
  if (request.id.empty())
    make_id(request.id);
  count_unknown(*model, rows);
  const std::size_t inputs = model->layout.size(), outputs = model->signature().outputs();
  scratch.outputs.resize(rows.rows * outputs);
  if (!run_model(*model, rows.features, rows.rows, scratch.outputs, out)) {
    const auto took = time_.mono() - start;
    observe(*model, request.id, {}, 500, static_cast<double>(took.count()) * 1e-6,
            {rows.features.data(), std::min(rows.features.size(), inputs)}, {});
    return finish(*model, 500, took.count(), rows.rows);
  }
  write_infer(out.body, options_.name, model->served.version, request, model->signature(), scratch.outputs, rows.rows);
  const auto took = time_.mono() - start;
  const double row_ms = static_cast<double>(took.count()) * 1e-6 / static_cast<double>(std::max<std::size_t>(1, rows.rows));
  for (std::size_t r = 0; r < rows.rows; ++r)
    observe(*model, request.id, rows.rows == 1 ? std::string{} : "/" + std::to_string(r), 200, row_ms,
            {rows.features.data() + r * inputs, inputs}, {scratch.outputs.data() + r * outputs, outputs});
  finish(*model, 200, took.count(), rows.rows);
}

void model_service::feedback(std::string_view body, service_answer& out) {
  std::vector<label_entry> labels;
  if (const auto read = read_labels(body, labels); !read)
    return fail(out, read.error());
  const auto snapshot = routes_.load();
  if (const auto* first = snapshot->first(); first != nullptr)
    for (const auto& l : labels) {
      const auto& classes = first->signature().classes;
      double x = 0;
      if (classes.empty()) {
        const auto [end, code] = std::from_chars(l.label.data(), l.label.data() + l.label.size(), x);
        if (code != std::errc{} || end != l.label.data() + l.label.size() || !std::isfinite(x))
          return fail(out, 400, "label '" + printable(l.label, 64) + "' of '" + printable(l.id, 64) + "' is not a number");
      } else if (std::find(classes.begin(), classes.end(), l.label) == classes.end()) {
        const auto near = nearest(l.label, classes);
        return fail(out, 400, "'" + printable(l.label, 64) + "' is not a class of the model; " +
                                  (near.empty() ? "classes are " + join(classes, ", ").substr(0, 200)
                                                : "did you mean '" + std::string{near} + "'?"));
      }
    }
  std::size_t accepted = 0;
  for (const auto& l : labels)
    accepted += labels_.push([&](served_label& s) {
      s.id = l.id;
      s.label = l.label;
    });
  if (accepted < labels.size())
    return fail(out, 503, "the feedback queue is full: the first " + std::to_string(accepted) + " of " +
                              std::to_string(labels.size()) + " labels were taken; send the rest later");
  out.body = "{\"accepted\":" + std::to_string(accepted) + "}";
}

void model_service::metrics(service_answer& out) const {
  out.content_type = text_type;
  const auto snapshot = routes_.load();
  metrics_.write(out.body);
  const auto sample = [&](std::string_view name, std::string_view type, std::string_view help, std::string_view labels,
                          double value) {
    if (!help.empty())
      out.body.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ").append(name).append(" ").append(
          type).append("\n");
    append_sample(out.body, name, labels, value);
  };
  sample("flywheel_observations_dropped_total", "counter", "Requests the monitor did not take in time.", "",
         static_cast<double>(requests_.dropped()));
  sample("flywheel_labels_dropped_total", "counter", "Labels refused because the queue was full.", "",
         static_cast<double>(labels_.dropped()));
  sample("flywheel_challenger_percent", "gauge", "Share of the traffic that the challenger answers.", "",
         snapshot->challenger ? (snapshot->champion ? snapshot->table.challenger_percent : 100.0) : 0.0);
  sample("flywheel_route_generation", "gauge", "Generation of the route table.", "",
         static_cast<double>(snapshot->table.generation));
  std::string_view help = "Who is behind the route.";
  for (const auto* p : {&snapshot->champion, &snapshot->challenger})
    if (*p) {
      sample("flywheel_route", "gauge", help,
             "role=\"" + std::string{(*p)->challenger ? "challenger" : "champion"} + "\",version=\"" +
                 escape_label((*p)->served.version) + "\"",
             1);
      help = {};
    }
}

void model_service::about(bool html, service_answer& out) const {
  const auto snapshot = routes_.load();
  const prepared_model* const first = snapshot->first();
  std::string example = "{";
  if (first != nullptr)
    for (std::size_t i = 0; i < first->layout.size(); ++i) {
      example += i > 0 ? ", " : "";
      append_json_string(example, first->layout.name(i));
      example += ": ";
      if (first->layout.type(i) == column_type::numeric)
        example += '0';
      else if (first->layout.categories(i).empty())
        example += "null";
      else
        append_json_string(example, first->layout.categories(i)[0]);
    }
  example += '}';
  const std::string predicts = first != nullptr ? first->signature().target : "nothing yet";
  if (html) {
    const auto text = [](std::string_view s) {
      std::string escaped;
      for (const char c : s)
        c == '<' ? escaped += "&lt;" : c == '&' ? escaped += "&amp;" : escaped += c;
      return escaped;
    };
    out.content_type = html_type;
    out.body = "<!doctype html><meta charset=utf-8><title>" + text(options_.name) + "</title><h1>" + text(options_.name) +
               "</h1><p>A Flywheel model server. It predicts <b>" + text(predicts) + "</b>" +
               (first != nullptr ? " with <b>" + text(first->served.version) + "</b>" : "") +
               ".</p><p>POST a row to <code>/predict</code>, labels to <code>/feedback</code>; or speak the Open Inference "
               "Protocol at <a href=/v2>/v2</a>. Numbers: <a href=/metrics>/metrics</a>.</p><pre>" +
               text(example) + "</pre>\n";
    return;
  }
  out.body = "{\"server\":\"flywheel\",\"model\":";
  append_json_string(out.body, options_.name);
  out.body += ",\"predicts\":";
  append_json_string(out.body, predicts);
  if (snapshot->champion) {
    out.body += ",\"champion\":";
    append_json_string(out.body, snapshot->champion->served.version);
  }
  if (snapshot->challenger) {
    out.body += ",\"challenger\":";
    append_json_string(out.body, snapshot->challenger->served.version);
  }
  out.body += ",\"endpoints\":[\"POST /predict\",\"POST /feedback\",\"GET /metrics\",\"GET /v2\",\"GET /v2/health/live\","
              "\"GET /v2/health/ready\",\"GET /v2/models/" +
              options_.name + "\",\"POST /v2/models/" + options_.name + "/infer\"],\"example\":" + example + "}";
}

std::vector<served_request> model_service::take_requests() {
  std::vector<served_request> out;
  requests_.drain([&](const served_request& r) { out.push_back(r); });
  return out;
}

std::vector<served_label> model_service::take_labels() {
  std::vector<served_label> out;
  labels_.drain([&](const served_label& l) { out.push_back(l); });
  return out;
}

} // namespace flywheel
