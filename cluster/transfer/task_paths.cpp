#include "cluster/transfer/task_paths.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/transfer/transfer_format.hpp"

#include <algorithm>
#include <optional>

namespace flywheel::transfer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// `path` below `from`, moved to below `to`; nothing if it is not.
std::optional<fs::path> moved(const fs::path& path, const fs::path& from, const fs::path& to) {
  const auto [rest, in] = std::mismatch(path.begin(), path.end(), from.begin(), from.end());
  if (in != from.end())
    return std::nullopt;
  auto out = to;
  for (auto i = rest; i != path.end(); ++i)
    if (!i->empty())
      out /= *i;
  return out;
}

/// Maps every text that one of `pointers` leads to. A pointer that leads nowhere is `needed` or not.
template <class Map> result<std::string> mapped(const std::string& body, const std::vector<std::string>& pointers, bool needed, const Map& map) {
  auto j = json::parse(body, nullptr, false);
  if (pointers.empty() || (j.is_discarded() && !needed))
    return body;
  try {
    for (const auto& p : pointers) {
      const json::json_pointer at{p};
      if (!needed && !j.contains(at))
        continue;
      auto& text = j.at(at);
      FLYWHEEL_TRY(const auto path, map(text.template get<std::string>()));
      text = path.string();
    }
    return j.dump();
  } catch (const json::exception& e) {
    return error{errc::invalid_argument, std::string{"the task's body has no path where one is said to be: "} + e.what()};
  }
}

} // namespace

result<task_paths> task_paths::of(const task_files& files, fs::path place) {
  if (files.folder.empty())
    return error{errc::unsupported, "this kind of task says nothing of its files, and can only run where they are"};
  auto all = files.inputs;
  all.push_back(files.folder);
  for (const auto& p : all)
    if (!p.is_absolute() || p != p.lexically_normal() || p.filename().empty())
      return error{errc::invalid_argument, "not an absolute path of a file or folder", printable(p.string())};
  for (const auto* names : {&files.state, &files.results})
    for (const auto& n : *names) {
      FLYWHEEL_CHECK(check_name(n));
      if (n.find('/') != std::string::npos)
        return error{errc::invalid_argument, "not the name of a folder", printable(n)};
    }
  return task_paths{files, std::move(place)};
}

fs::path task_paths::input(std::size_t number) const { return place_ / "in" / std::to_string(number) / files_.inputs[number].filename(); }

result<fs::path> task_paths::to_here(const fs::path& path) const {
  if (path != path.lexically_normal())
    return error{errc::invalid_argument, "a path with detours", printable(path.string())};
  for (std::size_t i = 0; i < files_.inputs.size(); ++i)
    if (const auto p = moved(path, files_.inputs[i], input(i)))
      return *p;
  if (const auto p = moved(path, files_.folder, job()))
    return *p;
  return error{errc::invalid_argument, "a path that is none of the task's files", printable(path.string())};
}

result<fs::path> task_paths::to_there(const fs::path& path) const {
  for (std::size_t i = 0; i < files_.inputs.size(); ++i)
    if (const auto p = moved(path, input(i), files_.inputs[i]))
      return *p;
  if (const auto p = moved(path, job(), files_.folder))
    return *p;
  return error{errc::invalid_argument, "a path that is none of the task's files", printable(path.string())};
}

result<worker_task> task_paths::here(worker_task t) const {
  FLYWHEEL_TRY(t.task.body, mapped(t.task.body, files_.body_paths, true, [&](const std::string& p) { return to_here(p); }));
  for (auto* paths : {&t.sandbox.readable, &t.sandbox.writable})
    for (auto& p : *paths) {
      FLYWHEEL_TRY(p, to_here(p));
    }
  return t;
}

result<std::string> task_paths::there(const std::string& body) const {
  return mapped(body, files_.result_paths, false, [&](const std::string& p) { return to_there(p); });
}

} // namespace flywheel::transfer
