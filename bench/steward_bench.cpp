// Ours in `bench/run steward`. Two commands:
//   bench_steward generate FILE MEGABYTES   customers like examples/churn, with faults at known rows; the same bytes always
//   bench_steward check FILE THREADS        the steward's full check of it; prints one JSON object

#include "actors/data_steward/file_check.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/random.hpp"
#include "cluster/base/text.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sys/resource.h>

using namespace flywheel;

namespace {

constexpr std::array states{"KS", "OH", "NJ", "OK", "AL", "MA", "MO", "LA", "WV", "IN", "RI", "IA", "MT", "NY", "ID", "VT", "VA",
                            "TX", "FL", "CO", "AZ", "SC", "NE", "WY", "HI", "IL", "NH", "GA", "AK", "MD", "AR", "WI", "OR", "MI",
                            "DE", "UT", "CA", "MN", "SD", "NC", "WA", "NM", "NV", "DC", "KY", "ME", "MS", "TN", "PA", "CT", "ND"};
constexpr std::array areas{"area_code_408", "area_code_415", "area_code_510"};

/// One decimal digit, as the churn data has them.
void put_tenths(std::string& out, std::uint64_t tenths) {
  out += std::to_string(tenths / 10);
  if (tenths % 10 != 0) {
    out += '.';
    out += static_cast<char>('0' + tenths % 10);
  }
}
void put_cents(std::string& out, std::uint64_t cents) {
  out += std::to_string(cents / 100);
  if (cents % 100 != 0) {
    out += '.';
    out += static_cast<char>('0' + cents / 10 % 10);
    if (cents % 10 != 0)
      out += static_cast<char>('0' + cents % 10);
  }
}

int generate(const char* path, std::size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  std::string text = "customer_id,state,account_length,area_code,international_plan,voice_mail_plan,number_vmail_messages,"
                     "total_day_minutes,total_day_calls,total_day_charge,total_eve_minutes,total_eve_calls,total_eve_charge,"
                     "total_night_minutes,total_night_calls,total_night_charge,total_intl_minutes,total_intl_calls,"
                     "total_intl_charge,number_customer_service_calls,churn\n";
  random_source random(7);
  std::size_t written = 0;
  for (std::uint64_t row = 1; written + text.size() < bytes; ++row) {
    // Each fault has rows of its own, so that counts can be compared one by one.
    const std::uint64_t fault = row % 10'007 == 0 ? 1 + row / 10'007 % 5 : 0;
    const std::uint64_t id = fault == 1 ? row - 5 : row;
    text += std::to_string(1'000'000 + id) + ",";
    text += fault == 2 ? "" : "\"" + std::string{states[random.below(states.size())]} + "\"";
    text += "," + std::to_string(1 + random.below(240)) + ",\"" + areas[random.below(areas.size())] + "\",";
    text += fault == 3 ? "\"perhaps\"" : random.below(10) == 0 ? "\"yes\"" : "\"no\"";
    const bool mailbox = random.below(4) == 0;
    text += mailbox ? ",\"yes\"," : ",\"no\",";
    text += std::to_string(mailbox ? 10 + random.below(40) : 0) + ",";
    const auto call = [&](std::uint64_t tenths_max, std::uint64_t calls_max, std::uint64_t rate_per_mille, bool last) {
      const std::uint64_t tenths = random.below(tenths_max);
      put_tenths(text, fault == 4 && !last ? tenths + 20'000 : tenths);
      text += "," + std::to_string(random.below(calls_max)) + ",";
      put_cents(text, tenths * rate_per_mille / 100);
      text += ",";
    };
    call(3500, 165, 170, false);
    call(3600, 170, 85, true);
    call(3900, 175, 45, true);
    call(200, 20, 270, true);
    text += fault == 5 ? "many" : std::to_string(random.below(10));
    text += random.below(7) == 0 ? ",\"yes\"\n" : ",\"no\"\n";
    if (text.size() > 1 << 20) {
      written += text.size();
      file << text;
      text.clear();
    }
  }
  file << text;
  file.close();
  return file ? 0 : 1;
}

data_spec contract_of(const char* path) {
  const auto a = [](const char* name, const char* type, std::optional<double> min = {}, std::optional<double> max = {},
                    std::vector<std::string> values = {}) {
    column_rule c;
    c.name = name;
    c.type = type;
    c.min = min;
    c.max = max;
    c.values = std::move(values);
    return c;
  };
  data_spec d;
  d.source = path;
  d.contract.columns = {
      a("customer_id", "integer", 1), a("state", "category", {}, {}, {states.begin(), states.end()}),
      a("account_length", "integer", 0, 1000), a("area_code", "category", {}, {}, {areas.begin(), areas.end()}),
      a("international_plan", "category", {}, {}, {"no", "yes"}), a("voice_mail_plan", "category", {}, {}, {"no", "yes"}),
      a("number_vmail_messages", "integer", 0, 100), a("total_day_minutes", "number", 0, 1440),
      a("total_day_calls", "integer", 0, 1000), a("total_day_charge", "number", 0, 1000),
      a("total_eve_minutes", "number", 0, 1440), a("total_eve_calls", "integer", 0, 1000),
      a("total_eve_charge", "number", 0, 1000), a("total_night_minutes", "number", 0, 1440),
      a("total_night_calls", "integer", 0, 1000), a("total_night_charge", "number", 0, 1000),
      a("total_intl_minutes", "number", 0, 1440), a("total_intl_calls", "integer", 0, 1000),
      a("total_intl_charge", "number", 0, 1000), a("number_customer_service_calls", "integer", 0, 100),
      a("churn", "category", {}, {}, {"no", "yes"})};
  d.contract.key = {"customer_id"};
  return d;
}

int check(const char* path, unsigned threads) {
  check_options options;
  options.threads = threads;
  const data_spec data = contract_of(path);
  const std::atomic<bool> never{false};
  const auto start = std::chrono::steady_clock::now();
  const auto report = check_file(data, options, never);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!report) {
    std::cerr << report.error().to_string() << "\n";
    return 1;
  }
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto broken = [&](const char* rule) {
    const auto at = report->by_rule.find(rule);
    return at == report->by_rule.end() ? 0 : at->second;
  };
  const nlohmann::json out{{"seconds", seconds},
                           {"bytes", report->bytes},
                           {"rss", usage.ru_maxrss * 1024},
                           {"cpu", static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                                       static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6},
                           {"counts",
                            {{"rows", report->rows_read},
                             {"type", broken("type")},
                             {"null", broken("null")},
                             {"range", broken("min") + broken("max")},
                             {"values", broken("values")},
                             {"key", broken("key")}}}};
  std::cout << out.dump() << "\n";
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "generate" && argc == 4)
    return generate(argv[2], std::strtoull(argv[3], nullptr, 10) * 1'000'000);
  if (command == "check" && argc == 4)
    return check(argv[2], static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)));
  std::cerr << "usage: bench_steward generate FILE MEGABYTES | check FILE THREADS\n";
  return 2;
}
