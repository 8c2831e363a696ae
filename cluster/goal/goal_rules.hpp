#pragma once
// What contradicts what: rules between fields, and between the goal and the world (files that must exist).

#include "cluster/goal/goal_reader.hpp"

#include <filesystem>

namespace flywheel {

/// Each contradiction is one problem, placed at the field that is easier to change.
void check_contract(const data_contract& contract, const std::string& path, goal_problems& problems, const goal_places& places);
void check_goal(const goal_spec& spec, goal_problems& problems, const goal_places& places, const goal_vocabulary& vocabulary);
/// The data file: there, a file, readable. Names near matches in its folder.
void check_files(const goal_spec& spec, goal_problems& problems, const goal_places& places);

/// True if less is better: log_loss, rmse, mae.
bool lower_is_better(std::string_view metric);
/// "; did you mean ..." candidates for a file that is not there, or a sample of what is in the folder.
std::string files_near(const std::filesystem::path& missing, std::string& suggestion);

} // namespace flywheel
