// Ours in bench/run serve.
//   bench_serve prepare FOLDER CHURN_CSV   trains 100 trees with XGBoost's C library on the first 3,333 customers and writes
//     model.ubj (XGBoost's file, for the peer), model/ (the same bytes read into our forest), columns.json, rows.jsonl
//   bench_serve serve FOLDER THREADS       serves model/; prints the port; ends with its input

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"
#include "deploy/server/model_server.hpp"
#include "models/features.hpp"
#include "models/gbt_model.hpp"
#include "models/xgboost_model_format.hpp"

#include <xgboost/c_api.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

using namespace flywheel;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::size_t train_rows = 3333, rounds = 100;

[[noreturn]] void give_up(const std::string& what) {
  std::fprintf(stderr, "bench_serve: %s\n", what.c_str());
  std::exit(1);
}
template <class T> T must(result<T> r) {
  if (!r)
    give_up(r.error().to_string());
  return std::move(r).value();
}
void must(const status& s) {
  if (!s)
    give_up(s.error().to_string());
}
void xgb(int code) {
  if (code != 0)
    give_up(XGBGetLastError());
}

table read_csv(const std::string& path) {
  std::ifstream file{path};
  const std::set<std::string> categorical{"state", "area_code", "international_plan", "voice_mail_plan", "churn"};
  std::string line;
  table t;
  const auto cells = [](std::string text) {
    std::erase(text, '"');
    std::erase(text, '\r');
    std::vector<std::string> out;
    for (const auto part : split(text, ','))
      out.emplace_back(part);
    return out;
  };
  if (!std::getline(file, line))
    give_up("cannot read " + path);
  for (const auto& name : cells(line)) {
    auto& c = t.columns.emplace_back();
    c.name = name;
    c.type = categorical.contains(name) ? column_type::categorical : column_type::numeric;
  }
  while (std::getline(file, line)) {
    const auto parts = cells(line);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      auto& c = t.columns[i];
      if (c.type == column_type::numeric) {
        c.numbers.push_back(std::strtod(parts[i].c_str(), nullptr));
        continue;
      }
      if (c.code_of(parts[i]) < 0)
        c.categories.push_back(parts[i]);
      c.codes.push_back(c.code_of(parts[i]));
    }
    t.row_ids.push_back(t.row_ids.size() + 1);
  }
  return t;
}

/// XGBoost's own file after 100 rounds.
void train(const std::vector<float>& features, const std::vector<float>& labels, const model_signature& s, const fs::path& file) {
  DMatrixHandle matrix = nullptr;
  const std::size_t inputs = s.inputs.size();
  xgb(XGDMatrixCreateFromMat(features.data(), labels.size(), inputs, std::numeric_limits<float>::quiet_NaN(), &matrix));
  xgb(XGDMatrixSetFloatInfo(matrix, "label", labels.data(), labels.size()));
  std::vector<const char*> types;
  for (const auto& i : s.inputs)
    types.push_back(i.type == column_type::categorical ? "c" : "float");
  xgb(XGDMatrixSetStrFeatureInfo(matrix, "feature_type", types.data(), inputs));
  BoosterHandle booster = nullptr;
  xgb(XGBoosterCreate(&matrix, 1, &booster));
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{
           {"objective", "binary:logistic"}, {"tree_method", "hist"}, {"max_depth", "6"}, {"learning_rate", "0.1"}, {"base_score", "0.5"},
           {"max_cat_to_onehot", "64"}, {"seed", "1"}, {"nthread", "2"}, {"verbosity", "0"}})
    xgb(XGBoosterSetParam(booster, name, value));
  for (std::size_t round = 0; round < rounds; ++round)
    xgb(XGBoosterUpdateOneIter(booster, static_cast<int>(round), matrix));
  xgb(XGBoosterSaveModel(booster, file.c_str()));
  xgb(XGBoosterFree(booster));
  xgb(XGDMatrixFree(matrix));
}

void prepare(const fs::path& folder, const std::string& csv) {
  table t = read_csv(csv);
  learning_task task;
  task.target = "churn";
  task.classes = {"no", "yes"};
  for (const auto& c : t.columns)
    if (c.name != "churn")
      task.inputs.push_back(c.name);
  const auto signature = must(make_signature(t, task));
  std::vector<std::uint32_t> indices(train_rows);
  for (std::uint32_t i = 0; i < train_rows; ++i)
    indices[i] = i;
  const table first = t.select(indices);
  const auto target = must(encode_target(signature, first));
  train(must(encode_features(signature, first)), {target.begin(), target.end()}, signature, folder / "model.ubj");

  const auto bytes = must(read_file(folder / "model.ubj", 64u << 20));
  const auto model = must(gbt_model::create(signature, must(forest_from_xgboost(bytes, {0.0F}, category_counts(signature)))));
  fs::create_directories(folder / "model");
  must(model->save(folder / "model"));

  json columns = json::array();
  for (const auto& i : signature.inputs)
    columns.push_back({{"name", i.name}, {"categories", i.categories}});
  must(publish_file(folder / "columns.json", columns.dump()));
  std::string rows;
  for (std::size_t r = train_rows; r < t.rows(); ++r) { // in the order of the file, as a client would write them
    std::string text = "{";
    for (const auto& i : signature.inputs) {
      const column& c = *t.find(i.name);
      text += (text.size() > 1 ? ",\"" : "\"") + i.name + "\":";
      text += c.type == column_type::numeric ? format_number(c.numbers[r])
                                             : "\"" + c.categories[static_cast<std::size_t>(c.codes[r])] + "\"";
    }
    rows += text + "}\n";
  }
  must(publish_file(folder / "rows.jsonl", rows));
}

void serve(const fs::path& folder, unsigned threads) {
  model_server_options o;
  o.name = "churn";
  o.threads = threads;
  const auto server = must(model_server::start(o, {{"churn/v1", must(load_model(folder / "model"))}, {}, 0, 1}));
  std::printf("%u\n", server->port());
  std::fflush(stdout);
  // The monitor's part: it takes what was observed, as in production.
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::uint64_t seen = 0;
  std::thread monitor{[&] {
    std::unique_lock lock{mutex};
    while (!ended.wait_for(lock, std::chrono::milliseconds{100}, [&] { return done; }))
      seen += server->take_requests().size();
  }};
  while (std::getchar() != EOF)
    ;
  {
    const std::scoped_lock lock{mutex};
    done = true;
  }
  ended.notify_all();
  monitor.join();
  std::fprintf(stderr, "observed %llu requests, dropped %llu\n", static_cast<unsigned long long>(seen),
               static_cast<unsigned long long>(server->dropped_observations()));
}

} // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "prepare" && argc == 4)
    prepare(argv[2], argv[3]);
  else if (what == "serve" && argc == 4)
    serve(argv[2], static_cast<unsigned>(std::atoi(argv[3])));
  else
    give_up("usage: bench_serve prepare FOLDER CHURN_CSV | serve FOLDER THREADS");
}
