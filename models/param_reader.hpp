#pragma once
// Reads a param_set into typed values, checking name, type and range, and tells all problems at once.

#include "models/trial.hpp"

#include <string>
#include <vector>

namespace flywheel {

/// Read every parameter of the family, then call finish(): names that were not read are unknown and reported.
class param_reader {
public:
  param_reader(std::string family, const param_set& params) : family_(std::move(family)), params_(params) {}

  /// The value, or the family's default where absent. Bounds are inclusive; they are what the code can bear, wider than
  /// the search space. An integer is accepted where a real is asked for; a real only as an integer if it is whole.
  double real(const std::string& name, double low, double high);
  std::int64_t integer(const std::string& name, std::int64_t low, std::int64_t high);
  std::string choice(const std::string& name, const std::vector<std::string>& choices);
  /// invalid_argument naming every parameter that is unknown, of the wrong type or out of range.
  status finish();

private:
  const param_value* find(const std::string& name);
  void complain(std::string problem) { problems_.push_back(std::move(problem)); }

  std::string family_;
  const param_set& params_;
  std::vector<std::string> known_;
  std::vector<std::string> problems_;
};

} // namespace flywheel
