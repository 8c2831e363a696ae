#include "checkpoints/checkpoint_store.hpp"

#include "checkpoints/checkpoint_file.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace flywheel {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view prefix = "step-", suffix = ".h5";
constexpr std::size_t digits = 12;

std::optional<std::uint64_t> step_of(const std::string& name) {
  if (name.size() != prefix.size() + digits + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix))
    return std::nullopt;
  std::uint64_t step = 0;
  const char* first = name.data() + prefix.size();
  const auto [last, code] = std::from_chars(first, first + digits, step);
  return code == std::errc{} && last == first + digits ? std::optional{step} : std::nullopt;
}

bool is_damage(const error& e) {
  return e.klass() == error_class::damaged || e.code == errc::invalid_format;
}

} // namespace

result<checkpoint_store> checkpoint_store::open(fs::path folder, retention_rule rule) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code)
    return error_from_errno(code.value(), "making the checkpoint folder", folder.string());
  FLYWHEEL_TRY([[maybe_unused]] const auto swept, sweep_temporaries(folder));
  checkpoint_store store;
  store.folder_ = std::move(folder);
  store.rule_ = rule;
  return store;
}

fs::path checkpoint_store::path_of(std::uint64_t step) const {
  auto number = std::to_string(step);
  number.insert(0, digits - std::min(digits, number.size()), '0');
  return folder_ / (std::string{prefix} + number + std::string{suffix});
}

status checkpoint_store::save(const checkpoint& c) {
  if (std::to_string(c.step).size() > digits)
    return error{errc::too_large, "a step has at most 12 digits, got " + std::to_string(c.step), folder_.string()};
  FLYWHEEL_CHECK(write_checkpoint(path_of(c.step), c));
  FLYWHEEL_TRY(const auto all, steps());
  for (const auto step : steps_to_remove(rule_, all)) {
    std::error_code ignored;
    fs::remove(path_of(step), ignored);
  }
  return success();
}

result<found_checkpoint> checkpoint_store::latest() const {
  found_checkpoint found;
  FLYWHEEL_TRY(auto all, steps());
  for (auto step = all.rbegin(); step != all.rend(); ++step) {
    const auto path = path_of(*step);
    auto read = read_checkpoint(path);
    if (read && read->step == *step) {
      found.newest = std::move(read).value();
      break;
    }
    auto problem = read ? error{errc::checksum_mismatch, "the file is named for another step than it holds", path.string()}
                        : std::move(read).error();
    if (!is_damage(problem))
      return problem;
    const auto aside = path.string() + ".damaged";
    std::error_code code;
    fs::rename(path, aside, code);
    problem.hint = code ? "remove it" : "it was set aside as " + aside;
    found.set_aside.push_back(std::move(problem));
  }
  return found;
}

result<std::vector<std::uint64_t>> checkpoint_store::steps() const {
  std::vector<std::uint64_t> all;
  std::error_code code;
  for (fs::directory_iterator at{folder_, code}, end; !code && at != end; at.increment(code)) {
    if (const auto step = step_of(at->path().filename().string()))
      all.push_back(*step);
  }
  if (code)
    return error_from_errno(code.value(), "listing checkpoints", folder_.string());
  std::sort(all.begin(), all.end());
  return all;
}

} // namespace flywheel
