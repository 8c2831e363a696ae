#include "models/param_reader.hpp"

#include "cluster/base/assert.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <cmath>

namespace flywheel {

const param_value* param_reader::find(const std::string& name) {
  known_.push_back(name);
  if (const auto at = params_.find(name); at != params_.end())
    return &at->second;
  const auto* family = find_family(family_);
  FLYWHEEL_ASSERT(family && family->defaults.contains(name), "every parameter has a default");
  return &family->defaults.at(name);
}

double param_reader::real(const std::string& name, double low, double high) {
  const auto* value = find(name);
  double x = low;
  if (const auto* d = std::get_if<double>(value))
    x = *d;
  else if (const auto* i = std::get_if<std::int64_t>(value))
    x = static_cast<double>(*i);
  else
    complain(name + " must be a number");
  if (!(x >= low && x <= high)) {
    complain(name + " must be between " + format_number(low) + " and " + format_number(high) + ", got " +
             format_number(x));
    return low;
  }
  return x;
}

std::int64_t param_reader::integer(const std::string& name, std::int64_t low, std::int64_t high) {
  const double x = real(name, static_cast<double>(low), static_cast<double>(high));
  if (x != std::floor(x))
    complain(name + " must be a whole number, got " + format_number(x));
  return static_cast<std::int64_t>(x);
}

std::string param_reader::choice(const std::string& name, const std::vector<std::string>& choices) {
  const auto* text = std::get_if<std::string>(find(name));
  if (text && std::find(choices.begin(), choices.end(), *text) != choices.end())
    return *text;
  complain(name + " must be one of " + join(choices, ", ") + (text ? ", got \"" + printable(*text, 40) + "\"" : ""));
  return choices.front();
}

status param_reader::finish() {
  for (const auto& [name, value] : params_) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end())
      continue;
    const auto near = nearest(name, known_);
    complain("there is no parameter " + printable(name, 60) + (near.empty() ? "" : ", did you mean " + std::string{near} + "?"));
  }
  if (problems_.empty())
    return success();
  return error{errc::invalid_argument, join(problems_, "; "), "family " + family_, "correct the parameters of this trial"};
}

} // namespace flywheel
