#include "actors/client/commands.hpp"
#include "actors/client/control_client.hpp"
#include "actors/client/doctor.hpp"
#include "actors/client/prediction_rows.hpp"
#include "actors/client/serving_place.hpp"
#include "actors/data_steward/file_check.hpp"
#include "checkpoints/registry.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "cluster/goal/goal_parser.hpp"
#include "cluster/journal/state_directory.hpp"
#include "deploy/http_client.hpp"
#include "deploy/server/row_reader.hpp"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <optional>

namespace flywheel {
namespace {

using nlohmann::json;

/// Asks the server that has the model now. The answer of POST /predict for a list of rows is a list.
result<json> ask_server(const std::string& url, const json& rows) {
  FLYWHEEL_TRY(auto client, http_client::to(url));
  FLYWHEEL_TRY(const auto answer, client.post_json("/predict", rows.dump()));
  auto body = json::parse(answer.body, nullptr, false);
  if (answer.code == 200 && !body.is_discarded())
    return body.is_array() ? body : json::array({body});
  const auto why = body.is_object() && body.contains("error") ? cell_text(body["error"]) : printable(answer.body, 400);
  return error{answer.code == 400 ? errc::invalid_argument : errc::library_failed, why, url};
}

/// Loads the model from the state directory and asks it here.
result<json> ask_here(const model_version& version, const json& rows) {
  FLYWHEEL_TRY(const auto model, load_model(version.folder));
  const auto& s = model->signature();
  row_batch batch;
  FLYWHEEL_CHECK(read_rows(row_layout{s}, rows.dump(), batch));
  std::vector<float> out(rows.size() * s.outputs());
  model->predict(batch.features, rows.size(), out);
  json answers = json::array();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const float* p = out.data() + r * s.outputs();
    json a{{"model", version.model}, {"version", version.id()}};
    if (s.classes.empty()) {
      a["prediction"] = p[0];
    } else {
      const auto best = static_cast<std::size_t>(std::max_element(p, p + s.outputs()) - p);
      a["prediction"] = s.classes[best];
      for (std::size_t k = 0; k < s.outputs(); ++k)
        a["probabilities"][s.classes[k]] = p[k];
    }
    answers.push_back(std::move(a));
  }
  return answers;
}

check_options check_options_here() {
  check_options o;
  o.threads = static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  o.now = system_clock().wall();
  return o;
}

/// The data section of a goal file, or a bare contract, for a data file. Nothing if it has problems; they are printed.
result<std::optional<data_spec>> data_spec_for(const command_context& c, const std::filesystem::path& file) {
  const std::filesystem::path contract = c.line.text("contract");
  const auto source = std::filesystem::absolute(file).string();
  FLYWHEEL_TRY(const auto text, read_file(contract, limits::goal_file_bytes_max));
  const bool is_goal = text.find("\ndata:") != std::string::npos || text.starts_with("data:") ||
                       text.find("flywheel:") != std::string::npos || text.find("\"data\"") != std::string::npos;
  if (is_goal) {
    FLYWHEEL_TRY(const auto goal, parse_goal_file(contract, {"data.source=" + json(source).dump()}));
    if (goal.ok())
      return std::optional<data_spec>{goal.spec.data};
    std::cerr << goal.render(contract.string(), text, c.colour_err);
    return std::optional<data_spec>{};
  }
  const auto bare = parse_contract(text);
  if (!bare.ok()) {
    std::cerr << bare.render(contract.string(), text, c.colour_err);
    return std::optional<data_spec>{};
  }
  data_spec d;
  d.source = source;
  d.contract = bare.contract;
  return std::optional<data_spec>{d};
}

} // namespace

result<int> predict(const command_context& c) {
  const auto reference = c.line.argument("MODEL");
  FLYWHEEL_TRY(const auto registry, model_registry::open(state_layout{c.state}.models()));
  FLYWHEEL_TRY(const auto version, registry.find(reference));
  FLYWHEEL_TRY(const auto model, load_model(version.folder));
  json rows;
  if (const auto input = c.line.text("input"); !input.empty()) {
    FLYWHEEL_TRY(rows, rows_of_file(input, model->signature()));
  } else {
    FLYWHEEL_TRY(auto row, row_of_assignments(c.line.arguments("NAME=VALUE"), model->signature()));
    rows.push_back(std::move(row));
  }
  result<json> answers = json::array();
  const auto url = reference.find('/') == std::string::npos ? serving_url(c.state, version.model) : std::string{};
  if (url.empty()) {
    if (!c.line.quiet())
      std::cerr << version.id() << " is not being served; asking it here\n";
    answers = ask_here(version, rows);
  } else {
    answers = ask_server(url, rows);
  }
  if (!answers)
    return std::move(answers).error();
  auto o = print_options_for_stdout(c.style, !c.colour);
  o.name_key = "prediction";
  if (c.style == output_style::table && answers->size() == 1)
    print_record(std::cout, answers->front(), o);
  else
    print_records(std::cout, {{"prediction", "prediction"}, {"probabilities", "probabilities"}, {"version", "version"}},
                  *answers, o);
  return 0;
}

result<int> roll_back(const command_context& c) {
  std::uint64_t to = 0;
  if (auto text = c.line.text("to"); !text.empty()) {
    const auto slash = text.find('/');
    const auto digits = text.substr(slash == std::string::npos ? (text[0] == 'v' ? 1 : 0) : slash + 2);
    if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos)
      return error{errc::invalid_argument, "--to " + text + " is not a version", {}, "write v2, for example"};
    to = std::stoull(digits);
  }
  FLYWHEEL_TRY(auto client, control_client::connect(c.state));
  const auto by = c.line.text("by");
  FLYWHEEL_TRY(const auto reply, client.ask({{"op", "rollback"}, {"model", c.line.argument("MODEL")},
                                             {"user", by.empty() ? user_name() : by}, {"to", to},
                                             {"reason", "asked for by a person"}}));
  std::cout << reply.value("text", "") << std::endl;
  return 0;
}

result<int> data_infer(const command_context& c) {
  data_spec d;
  d.source = std::filesystem::absolute(c.line.argument("FILE")).string();
  const std::atomic<bool> go_on{false};
  FLYWHEEL_TRY(const auto draft, infer_contract(d, check_options_here(), go_on));
  if (c.style == output_style::table || c.style == output_style::yaml) {
    std::cout << draft.yaml;
  } else {
    json findings = json::array();
    for (const auto& f : draft.findings)
      findings.push_back({{"kind", f.kind}, {"column", f.column}, {"text", f.text}});
    print_record(std::cout, json{{"rows", draft.rows}, {"contract", to_json(draft.contract)}, {"findings", findings}},
                 print_options_for_stdout(c.style, !c.colour));
  }
  return 0;
}

result<int> data_check(const command_context& c) {
  FLYWHEEL_TRY(const auto spec, data_spec_for(c, c.line.argument("FILE")));
  if (!spec)
    return 2;
  const std::atomic<bool> go_on{false};
  FLYWHEEL_TRY(const auto report, check_file(*spec, check_options_here(), go_on));
  if (c.style == output_style::table)
    std::cout << report.render(c.colour) << std::flush;
  else
    print_record(std::cout, to_json(report), print_options_for_stdout(c.style, !c.colour));
  return report.acceptable && report.rows_bad == 0 ? 0 : 1;
}

result<int> explain_setting(const command_context& c) {
  FLYWHEEL_TRY(const auto text, explain_goal(c.line.argument("PATH")));
  std::cout << text;
  return 0;
}

result<int> run_doctor(const command_context& c) {
  auto facts = look_at_machine(c.state);
  facts.owner_pid = owner_pid(c.state);
  json rows = json::array();
  bool failed = false;
  for (const auto& f : judge_machine(facts)) {
    failed = failed || f.verdict == doctor_verdict::fail;
    rows.push_back({{"name", f.name}, {"verdict", std::string{name_of(f.verdict)}}, {"what", f.what}, {"hint", f.hint}});
  }
  print_records(std::cout, {{"check", "name"}, {"", "verdict", false, true}, {"found", "what"}, {"to do", "hint"}}, rows,
                print_options_for_stdout(c.style, !c.colour));
  return failed ? 1 : 0;
}

result<int> print_version(const command_context& c) {
  const json v{{"version", FLYWHEEL_VERSION}, {"compiler", __VERSION__}, {"goal_format", 1}, {"worker_protocol", 1},
               {"control_protocol", 1}};
  if (c.style == output_style::table)
    std::cout << "flywheel " << FLYWHEEL_VERSION << " (g++ " << __VERSION__ << ")" << std::endl;
  else
    print_record(std::cout, v, print_options_for_stdout(c.style, !c.colour));
  return 0;
}

} // namespace flywheel
