#include "cluster/chaos/promise_evidence_store.hpp"

#include "checkpoints/registry.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"
#include "cluster/content/publish.hpp"

#include <algorithm>

namespace flywheel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// More than this of one file, or of all, is not searched for secrets: a rehearsal must end.
constexpr std::size_t searched_file_max = 64u << 20, searched_all_max = 512u << 20;

void read_registry(const state_layout& layout, promise_evidence& e) {
  if (std::error_code none; !fs::exists(layout.models(), none))
    return;
  const auto registry = model_registry::open(layout.models());
  if (!registry) {
    e.damage.push_back(registry.error().to_string());
    return;
  }
  std::vector<error> damaged;
  const auto versions = registry->list({}, &damaged);
  for (const auto& d : damaged)
    e.damage.push_back(d.to_string());
  if (!versions) {
    e.damage.push_back(versions.error().to_string());
    return;
  }
  e.registry_read = true;
  for (const auto& v : *versions) {
    e.versions.push_back({v.model, v.version, v.manifest.hex(), v.origin.goal});
    if (const auto whole = registry->verify(v); !whole)
      e.damage.push_back(v.id() + ": " + whole.error().to_string());
    for (const auto& [alias, version] : registry->aliases(v.model)) {
      const bool known = std::any_of(e.aliases.begin(), e.aliases.end(), [&](const auto& a) { return a.model == v.model && a.alias == alias; });
      if (known)
        continue;
      const auto text = read_file(layout.models() / v.model / "aliases" / (alias + ".json"), 1u << 16);
      const auto file = text ? json::parse(*text, nullptr, false) : json();
      e.aliases.push_back({v.model, alias, version, file.is_object() ? file.value("/body/epoch"_json_pointer, std::uint64_t{0}) : 0});
    }
  }
}

struct secret {
  std::string what, bytes;
};

/// What nobody may read anywhere else: the middle of each private key, the evaluator's key, the token of the shared files.
std::vector<secret> secrets_of(const state_layout& layout) {
  std::vector<secret> found;
  std::error_code ignored;
  for (fs::recursive_directory_iterator i{layout.root / "certs", ignored}, end; !ignored && i != end; i.increment(ignored))
    if (i->path().extension() == ".key")
      if (const auto text = read_file(i->path(), 1u << 16)) {
        const auto lines = split(*text, '\n');
        if (lines.size() > 3 && lines[1].size() >= 32)
          found.push_back({"the key " + i->path().filename().string(), std::string{lines[1]}});
      }
  if (const auto key = read_file(layout.sealed() / "held-out.key", 4096); key && key->size() >= 32) {
    const auto tail = key->substr(key->size() - 32);
    std::string hex;
    for (const char c : tail) {
      constexpr char digits[] = "0123456789abcdef";
      hex += digits[static_cast<unsigned char>(c) >> 4];
      hex += digits[static_cast<unsigned char>(c) & 15];
    }
    found.push_back({"the evaluator's key", tail});
    found.push_back({"the evaluator's key, as hex", hex});
  }
  if (const auto token = read_file(layout.run() / "cluster.token", 4096); token && trim(*token).size() >= 16)
    found.push_back({"the token of the shared files", std::string{trim(*token)}});
  return found;
}

void look_for_secrets(const state_layout& layout, promise_evidence& e) {
  const auto secrets = secrets_of(layout);
  e.secrets_looked_for = secrets.size();
  const auto search = [&](std::string_view bytes, const std::string& where) {
    for (const auto& s : secrets)
      if (bytes.find(s.bytes) != std::string_view::npos)
        e.secrets_found.push_back(s.what + " stands in " + where);
  };
  for (const auto& event : e.events)
    for (const auto* text : {&event.text, &event.body})
      search(*text, "entry " + std::to_string(event.seq) + " of the journal");
  std::vector<fs::path> folders{layout.log(), layout.trials(), layout.models()};
  std::error_code ignored;
  for (fs::directory_iterator i{layout.root / "nodes", ignored}, end; !ignored && i != end; i.increment(ignored))
    folders.insert(folders.end(), {i->path() / "log", i->path() / "trials"});
  std::size_t left = searched_all_max;
  for (const auto& folder : folders) {
    std::error_code failed;
    for (fs::recursive_directory_iterator i{folder, failed}, end; !failed && i != end; i.increment(failed)) {
      if (!i->is_regular_file(ignored))
        continue;
      if (const auto bytes = read_file(i->path(), std::min(searched_file_max, left))) {
        search(*bytes, i->path().string());
        left -= bytes->size();
      }
    }
  }
}

} // namespace

result<promise_evidence> gather_evidence(const state_layout& layout) {
  promise_evidence e;
  FLYWHEEL_TRY(e.chain, verify_journal(layout.root));
  FLYWHEEL_TRY(const auto reader, journal_reader::open(layout.root));
  const auto read = reader.read(journal_filter{}, [&](const event& entry) {
    e.events.push_back(entry);
    return true;
  });
  if (!read && e.chain.intact)
    return read.error();
  read_registry(layout, e);
  if (const auto text = read_file(layout.root / "epoch", 256))
    e.owner_epoch = std::strtoull(text->c_str(), nullptr, 10);
  look_for_secrets(layout, e);
  return e;
}

std::vector<std::string> files_left(const state_layout& layout, const std::vector<fs::path>& more) {
  std::vector<std::string> left;
  std::error_code ignored;
  for (const auto& folder : {layout.data(), layout.models(), layout.trials(), layout.sealed()}) {
    std::error_code failed;
    for (fs::recursive_directory_iterator i{folder, failed}, end; !failed && i != end; i.increment(failed))
      if (i->path().filename().string().find(".tmp-") != std::string::npos)
        left.push_back("the temporary " + i->path().string() + " is left behind");
  }
  for (const auto& path : more)
    if (fs::exists(path, ignored))
      left.push_back(path.string() + " is left behind");
  return left;
}

} // namespace flywheel
