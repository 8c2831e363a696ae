#include "cluster/transfer/task_courier.hpp"

#include "cluster/base/text.hpp"
#include "cluster/transfer/folder_walk.hpp"

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <optional>
#include <stdio.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace flywheel::transfer {
namespace {

namespace fs = std::filesystem;

/// A file that changes while it is fetched is listed and fetched once more.
constexpr int fetches_max = 3;

/// One lease.
struct job {
  std::uint64_t lease = 0;
  worker_task task;
  std::optional<task_paths> paths;
  std::vector<content_cache::pin> pins;
  /// What the head has of each state folder, and the local file that this is.
  struct known {
    file_state here;
    file_entry there;
  };
  std::vector<std::map<std::string, known>> state;
  std::atomic<bool> dropped{false};
  std::mutex one_errand;
};
using job_pointer = std::shared_ptr<job>;

status made(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  return code ? status{error_from_errno(code.value(), "create " + folder.string())} : success();
}

} // namespace

struct task_courier::impl {
  courier_options options;
  courier_events events;
  std::shared_ptr<content_cache> cache;
  std::vector<std::unique_ptr<transfer_client>> clients; ///< one a thread
  std::atomic<bool> quitting{false};

  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void(transfer_client&)>> errands;
  std::map<std::uint64_t, job_pointer> jobs;
  std::vector<std::thread> threads;

  void work(transfer_client& client);
  void enqueue(std::function<void(transfer_client&)> errand);
  job_pointer find(std::uint64_t lease);
  stop_function stop_of(const job_pointer& j) const {
    return [this, j] { return quitting.load() || j->dropped.load(); };
  }
  error told(error e, const job& j, const char* doing, const std::string& file) const;

  status fetch_into_cache(transfer_client& c, const job_pointer& j, std::uint64_t root, const file_entry& f, const fs::path& to);
  status fetch_input(transfer_client& c, const job_pointer& j, std::size_t number);
  status fetch_folder(transfer_client& c, const job_pointer& j, std::uint64_t root, const fs::path& to, std::map<std::string, job::known>* known);
  result<worker_task> prepare(transfer_client& c, const job_pointer& j);
  status save(transfer_client& c, const job_pointer& j);
  status save_folder(transfer_client& c, const job_pointer& j, std::size_t number);
  status bring_result(transfer_client& c, const job_pointer& j, std::size_t number);
};

task_courier::task_courier() : impl_(std::make_unique<impl>()) {}

/// Where: node and file; what: what was being done, and why it failed.
error task_courier::impl::told(error e, const job& j, const char* doing, const std::string& file) const {
  auto name = file.empty() ? e.where : file;
  e.what = std::string{doing} + " " + (name.empty() ? "the files" : printable(name)) + " of task " + j.task.task.id + ": " + e.what + (e.where.empty() || e.where == name ? "" : " (" + e.where + ")");
  e.where = "node " + options.node;
  return e;
}

void task_courier::impl::work(transfer_client& client) {
  for (;;) {
    std::function<void(transfer_client&)> errand;
    {
      std::unique_lock lock{mutex};
      wake.wait(lock, [&] { return quitting.load() || !errands.empty(); });
      if (quitting.load())
        return;
      errand = std::move(errands.front());
      errands.pop_front();
    }
    errand(client);
  }
}

void task_courier::impl::enqueue(std::function<void(transfer_client&)> errand) {
  {
    const std::lock_guard lock{mutex};
    errands.push_back(std::move(errand));
  }
  wake.notify_one();
}

job_pointer task_courier::impl::find(std::uint64_t lease) {
  const std::lock_guard lock{mutex};
  const auto i = jobs.find(lease);
  return i == jobs.end() ? nullptr : i->second;
}

// ---- to the node ----------------------------------------------------------------------------------------------------------

/// A link in the job's folder to the cached file: it lasts as long as the job, whatever leaves the cache.
status task_courier::impl::fetch_into_cache(transfer_client& c, const job_pointer& j, std::uint64_t root, const file_entry& f, const fs::path& to) {
  const auto stop = stop_of(j);
  FLYWHEEL_TRY(auto pin, cache->get(f.sha256, f.size, [&](int file) { return c.fetch(j->lease, root, f, file, stop); }, stop));
  FLYWHEEL_CHECK(made(to.parent_path()));
  if (::link(pin.path().c_str(), to.c_str()) != 0)
    return error_from_errno(errno, "link to " + to.string());
  j->pins.push_back(std::move(pin));
  return success();
}

status task_courier::impl::fetch_input(transfer_client& c, const job_pointer& j, std::size_t number) {
  error last{errc::internal, {}};
  for (int i = 0; i < fetches_max; ++i) {
    const auto to = j->paths->input(number);
    std::error_code ignored;
    fs::remove_all(to, ignored);
    FLYWHEEL_TRY(const auto files, c.list(j->lease, number, stop_of(j)));
    if (!files.is_file)
      FLYWHEEL_CHECK(made(to));
    status all;
    for (const auto& f : files.files)
      if (all = fetch_into_cache(c, j, number, f, f.name.empty() ? to : to / f.name); !all)
        break;
    if (all)
      return success();
    last = all.error();
    if (last.code != errc::checksum_mismatch)
      break;
  }
  return last;
}

/// Into a folder of the job's own, since the task goes on writing there.
status task_courier::impl::fetch_folder(transfer_client& c, const job_pointer& j, std::uint64_t root, const fs::path& to, std::map<std::string, job::known>* known) {
  const auto stop = stop_of(j);
  error last{errc::internal, {}};
  for (int i = 0; i < fetches_max; ++i) {
    FLYWHEEL_TRY(const auto files, c.list(j->lease, root, stop));
    status all;
    for (const auto& f : files.files) {
      all = [&]() -> status {
        FLYWHEEL_CHECK(made((to / f.name).parent_path()));
        FLYWHEEL_TRY(auto file, open_file(to / f.name, O_RDWR | O_CREAT));
        FLYWHEEL_CHECK(c.fetch(j->lease, root, f, file.get(), stop));
        FLYWHEEL_TRY(const auto sha, digest_of_descriptor(file.get(), f.name, stop));
        if (sha != f.sha256) {
          ::unlink((to / f.name).c_str());
          return error{errc::checksum_mismatch, "what was fetched is not what was announced", f.name};
        }
        FLYWHEEL_TRY(const auto state, state_of(file.get(), f.name));
        if (known != nullptr)
          (*known)[f.name] = {state, f};
        return success();
      }();
      if (!all)
        break;
    }
    if (all)
      return success();
    last = all.error();
    if (last.code != errc::checksum_mismatch)
      break;
  }
  return last;
}

result<worker_task> task_courier::impl::prepare(transfer_client& c, const job_pointer& j) {
  const auto& files = j->task.files;
  for (std::size_t i = 0; i < files.inputs.size(); ++i)
    if (auto ok = fetch_input(c, j, i); !ok)
      return told(std::move(ok).error(), *j, "fetching", files.inputs[i].string());
  FLYWHEEL_CHECK(made(j->paths->job()));
  j->state.resize(files.state.size());
  for (std::size_t i = 0; i < files.state.size(); ++i)
    if (auto ok = fetch_folder(c, j, files.inputs.size() + i, j->paths->job() / files.state[i], &j->state[i]); !ok)
      return told(std::move(ok).error(), *j, "fetching", files.state[i]);
  for (std::size_t i = 0; i < files.results.size(); ++i) // an earlier life of the task may have come to its end
    if (auto ok = fetch_folder(c, j, files.inputs.size() + files.state.size() + i, j->paths->job() / files.results[i], nullptr); !ok)
      return told(std::move(ok).error(), *j, "fetching", files.results[i]);
  return j->paths->here(j->task);
}

// ---- to the head ----------------------------------------------------------------------------------------------------------

/// New and changed files first, then the removal of those that are gone here: at no moment has the head less than one whole state.
status task_courier::impl::save_folder(transfer_client& c, const job_pointer& j, std::size_t number) {
  const auto stop = stop_of(j);
  const auto root = j->task.files.inputs.size() + number;
  auto& known = j->state[number];
  const auto folder = open_folder(j->paths->job() / j->task.files.state[number]);
  std::vector<found_file> found;
  if (folder) {
    FLYWHEEL_TRY(found, files_beneath(folder->get()));
  } else if (folder.error().code != errc::not_found) {
    return folder.error();
  }
  for (const auto& f : found) {
    const auto i = known.find(f.name);
    if (i != known.end() && i->second.here == f.state)
      continue;
    const auto file = open_beneath(folder->get(), f.name, O_RDONLY);
    if (!file && file.error().code == errc::not_found)
      continue; // the task has just removed it
    if (!file)
      return file.error();
    FLYWHEEL_TRY(const auto state, state_of(file->get(), f.name));
    FLYWHEEL_TRY(const auto sha, digest_of_descriptor(file->get(), f.name, stop));
    const file_entry what{f.name, state.size, sha};
    if (i == known.end() || i->second.there != what)
      FLYWHEEL_CHECK(c.bring(j->lease, root, what, file->get(), stop));
    known[f.name] = {state, what};
  }
  std::vector<std::string> gone;
  for (const auto& [name, k] : known)
    if (std::none_of(found.begin(), found.end(), [&](const auto& f) { return f.name == name; }))
      gone.push_back(name);
  for (const auto& name : gone) {
    FLYWHEEL_CHECK(c.remove(j->lease, root, name, stop));
    known.erase(name);
  }
  return success();
}

status task_courier::impl::save(transfer_client& c, const job_pointer& j) {
  for (std::size_t i = 0; i < j->state.size(); ++i)
    if (auto ok = save_folder(c, j, i); !ok)
      return told(std::move(ok).error(), *j, "bringing", j->task.files.state[i]);
  return success();
}

status task_courier::impl::bring_result(transfer_client& c, const job_pointer& j, std::size_t number) {
  const auto stop = stop_of(j);
  const auto root = j->task.files.inputs.size() + j->task.files.state.size() + number;
  const auto folder = open_folder(j->paths->job() / j->task.files.results[number]);
  if (!folder)
    return folder.error().code == errc::not_found ? success() : status{folder.error()}; // not every kind of task leaves it
  FLYWHEEL_TRY(const auto found, files_beneath(folder->get()));
  std::vector<file_entry> files;
  for (const auto& f : found) {
    FLYWHEEL_TRY(const auto file, open_beneath(folder->get(), f.name, O_RDONLY));
    FLYWHEEL_TRY(const auto state, state_of(file.get(), f.name));
    FLYWHEEL_TRY(const auto sha, digest_of_descriptor(file.get(), f.name, stop));
    files.push_back({f.name, state.size, sha});
  }
  FLYWHEEL_TRY(const auto there, c.list(j->lease, root, stop));
  if (there.files == files && !files.empty())
    return success();
  for (const auto& f : files) {
    FLYWHEEL_TRY(const auto file, open_beneath(folder->get(), f.name, O_RDONLY));
    FLYWHEEL_CHECK(c.bring(j->lease, root, f, file.get(), stop));
  }
  return c.finish(j->lease, root, files, stop);
}

// ---- errands ---------------------------------------------------------------------------------------------------------------

result<std::unique_ptr<task_courier>> task_courier::start(courier_options options, std::shared_ptr<const curve_keys> own, courier_events events, const time_source& time) {
  std::unique_ptr<task_courier> c{new task_courier};
  auto& i = *c->impl_;
  i.options = std::move(options);
  i.events = std::move(events);
  std::error_code code;
  fs::remove_all(i.options.folder / "jobs", code); // of a process that was killed
  FLYWHEEL_CHECK(made(i.options.folder / "jobs"));
  FLYWHEEL_TRY(i.cache, content_cache::open(i.options.folder / "cache", i.options.cache_bytes_max));
  for (unsigned n = 0; n < std::max(1u, i.options.threads); ++n) {
    FLYWHEEL_TRY(auto client, transfer_client::connect(i.options.server, *own, time));
    i.clients.push_back(std::move(client));
  }
  for (auto& client : i.clients)
    i.threads.emplace_back([&i, &client] { i.work(*client); });
  return c;
}

void task_courier::prepare(std::uint64_t lease, worker_task t) {
  auto& i = *impl_;
  auto j = std::make_shared<job>();
  j->lease = lease;
  j->task = std::move(t);
  auto paths = task_paths::of(j->task.files, i.options.folder / "jobs" / std::to_string(lease));
  if (!paths) {
    i.enqueue([&i, j, why = paths.error()](transfer_client&) { i.events.ready(j->lease, j->task.task.id, i.told(why, *j, "fetching", {})); });
    return;
  }
  j->paths.emplace(std::move(*paths));
  {
    const std::lock_guard lock{i.mutex};
    i.jobs[lease] = j;
  }
  i.enqueue([&i, j](transfer_client& c) {
    const std::lock_guard errand{j->one_errand};
    const auto here = i.prepare(c, j);
    if (!i.quitting.load())
      i.events.ready(j->lease, j->task.task.id, here);
  });
}

void task_courier::save(std::uint64_t lease, std::uint64_t number) {
  auto& i = *impl_;
  const auto j = i.find(lease);
  if (!j)
    return;
  i.enqueue([&i, j, number](transfer_client& c) {
    const std::lock_guard errand{j->one_errand};
    const auto s = i.save(c, j);
    if (!i.quitting.load())
      i.events.saved(j->lease, j->task.task.id, number, s);
  });
}

void task_courier::bring(std::uint64_t lease, std::string body) {
  auto& i = *impl_;
  const auto j = i.find(lease);
  if (!j)
    return;
  i.enqueue([&i, j, body = std::move(body)](transfer_client& c) {
    const std::lock_guard errand{j->one_errand};
    const auto all = [&]() -> result<std::string> {
      FLYWHEEL_CHECK(i.save(c, j));
      for (std::size_t n = 0; n < j->task.files.results.size(); ++n)
        if (auto ok = i.bring_result(c, j, n); !ok)
          return i.told(std::move(ok).error(), *j, "bringing", j->task.files.results[n]);
      return j->paths->there(body);
    }();
    if (!i.quitting.load())
      i.events.brought(j->lease, j->task.task.id, all);
  });
}

void task_courier::drop(std::uint64_t lease) {
  auto& i = *impl_;
  const auto j = i.find(lease);
  if (!j)
    return;
  j->dropped = true;
  for (const auto& c : i.clients)
    c->interrupt();
  i.enqueue([&i, j](transfer_client&) {
    {
      const std::lock_guard errand{j->one_errand};
      j->pins.clear();
      std::error_code ignored;
      fs::remove_all(j->paths->place(), ignored);
    }
    const std::lock_guard lock{i.mutex};
    if (const auto at = i.jobs.find(j->lease); at != i.jobs.end() && at->second == j)
      i.jobs.erase(at);
  });
}

task_courier::~task_courier() {
  auto& i = *impl_;
  i.quitting = true;
  {
    const std::lock_guard lock{i.mutex};
  }
  i.wake.notify_all();
  for (const auto& c : i.clients)
    c->interrupt();
  for (auto& t : i.threads)
    t.join();
  i.jobs.clear();
  std::error_code ignored;
  fs::remove_all(i.options.folder / "jobs", ignored);
}

} // namespace flywheel::transfer
