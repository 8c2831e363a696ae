#pragma once
// Where a task's files are on a node that fetched them, and the task as it reads there. Pure: paths in, paths out.
//
//   <place>/in/0/train.fwt        input 0, under the name it has where the task comes from
//   <place>/job                   what is task_files::folder there: state folders and results lie in it

#include "cluster/worker/worker_pool.hpp"

#include <filesystem>
#include <string>

namespace flywheel::transfer {

class task_paths {
public:
  /// unsupported: the task does not say what its files are. invalid_argument: a path that is not absolute, or a name that is none.
  static result<task_paths> of(const task_files& files, std::filesystem::path place);

  std::filesystem::path input(std::size_t number) const;
  std::filesystem::path job() const { return place_ / "job"; }
  const std::filesystem::path& place() const noexcept { return place_; }
  /// The task with every path in it as it is here. invalid_argument: one that is none of its files.
  result<worker_task> here(worker_task t) const;
  /// The body of its end with every path as whoever ordered it knows it. What is no JSON, or lacks such a path, stays as it is.
  result<std::string> there(const std::string& body) const;

private:
  task_paths(task_files files, std::filesystem::path place) : files_(std::move(files)), place_(std::move(place)) {}
  result<std::filesystem::path> to_here(const std::filesystem::path& path) const;
  result<std::filesystem::path> to_there(const std::filesystem::path& path) const;
  task_files files_;
  std::filesystem::path place_;
};

} // namespace flywheel::transfer
