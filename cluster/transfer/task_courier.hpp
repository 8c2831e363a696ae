#pragma once
// Moves the files of tasks between a head and a node that shares none with it: what a task reads comes into the node's cache, what it
// continues comes into a folder of its own, what it leaves goes back. Has threads of its own; what became of each errand is told once,
// from one of them. A lease's errands are done one after the other.
//
//   <folder>/cache      content_cache
//   <folder>/jobs/<n>   task_paths of one lease; gone when the lease is dropped. Left by a killed process: removed at the start

#include "cluster/transfer/content_cache.hpp"
#include "cluster/transfer/task_paths.hpp"
#include "cluster/transfer/transfer_client.hpp"

#include <atomic>

namespace flywheel::transfer {

struct courier_options {
  std::filesystem::path folder;        ///< of this node alone
  std::string node;                    ///< its name, for errors
  client_options server;
  std::uint64_t cache_bytes_max = std::uint64_t{20} << 30;
  unsigned threads = 1;                ///< errands at once, each with a connection
};

struct courier_events {
  /// The task as it runs here, or why it cannot: the error names this node, the file and the cause.
  std::function<void(std::uint64_t lease, const std::string& task, const result<worker_task>& t)> ready;
  /// Its state folders are at the head as they are here.
  std::function<void(std::uint64_t lease, const std::string& task, std::uint64_t number, const status& s)> saved;
  /// So are its results. The body of its end as the head knows its paths.
  std::function<void(std::uint64_t lease, const std::string& task, const result<std::string>& body)> brought;
};

/// Any thread.
class task_courier {
public:
  /// Takes over the cache of an earlier one.
  static result<std::unique_ptr<task_courier>> start(courier_options options, std::shared_ptr<const curve_keys> own, courier_events events, const time_source& time);
  /// Fetches what the task needs.
  void prepare(std::uint64_t lease, worker_task t);
  void save(std::uint64_t lease, std::uint64_t number);
  /// Saves, then brings the results. `body` is that of the task's end.
  void bring(std::uint64_t lease, std::string body);
  /// Stops what is under way for the lease (it is told as interrupted) and removes its folder. Unknown ones are ignored.
  void drop(std::uint64_t lease);
  /// Stops everything and tells nothing more.
  ~task_courier();

private:
  task_courier();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel::transfer
