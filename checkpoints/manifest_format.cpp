#include "checkpoints/manifest_format.hpp"

#include "checkpoints/sealed_folder.hpp"
#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>

namespace flywheel {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using u64 = std::uint64_t;

constexpr const char *manifest_kind = "flywheel-sharded-checkpoint", *receipt_kind = "flywheel-shard-receipt";
constexpr u64 format_version = 1;
constexpr u64 bytes_max = u64{1} << 62; ///< so that offset + size cannot overflow

error bad(const std::string& what) {
  return error{errc::invalid_format, what, {}, "it was not written by Flywheel; do not load it"};
}

// --- JSON, with every field asked for its type ---

json to_json(const shard_entry& s) {
  return {{"bytes", s.bytes}, {"head_bytes", s.head_bytes}, {"table_offset", s.table_offset},
          {"table_blocks", s.table_blocks}, {"head_xxh3_128", s.head.hex()}};
}

result<u64> number(const json& j, const char* key, u64 max = bytes_max) {
  const auto at = j.find(key);
  if (at == j.end() || !at->is_number_unsigned() || at->get<u64>() > max)
    return bad(std::string{"the field "} + key + " is missing or no acceptable number");
  return at->get<u64>();
}

result<std::string> text(const json& j, const char* key) {
  const auto at = j.find(key);
  if (at == j.end() || !at->is_string())
    return bad(std::string{"the field "} + key + " is missing or no text");
  return at->get<std::string>();
}

result<const json*> list(const json& j, const char* key, std::size_t max) {
  const auto at = j.find(key);
  if (at == j.end() || !at->is_array() || at->size() > max)
    return bad(std::string{"the field "} + key + " is missing or no acceptable list");
  return &*at;
}

result<wide_hash> wide_hash_in(const json& j, const char* key) {
  FLYWHEEL_TRY(const auto hex, text(j, key));
  wide_hash h;
  if (hex.size() != 32)
    return bad(std::string{"the field "} + key + " is no hash");
  for (std::size_t i = 0; i < h.bytes.size(); ++i) {
    const auto [end, code] = std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, h.bytes[i], 16);
    if (code != std::errc{} || end != hex.data() + 2 * i + 2)
      return bad(std::string{"the field "} + key + " is no hash");
  }
  return h;
}

result<shard_entry> shard_from(const json& j) {
  shard_entry s;
  FLYWHEEL_TRY(s.bytes, number(j, "bytes"));
  FLYWHEEL_TRY(s.head_bytes, number(j, "head_bytes", s.bytes));
  FLYWHEEL_TRY(s.table_offset, number(j, "table_offset", s.head_bytes));
  FLYWHEEL_TRY(s.table_blocks, number(j, "table_blocks", (s.head_bytes - s.table_offset) / 8));
  FLYWHEEL_TRY(s.head, wide_hash_in(j, "head_xxh3_128"));
  if (s.head_bytes < shard_seal_bytes || s.table_offset < shard_seal_bytes)
    return bad("a shard's sizes are impossible");
  return s;
}

/// Name, type and shape of a tensor.
struct described {
  std::string name;
  tensor_type type = tensor_type::f32;
  std::vector<u64> shape;
};

result<described> described_in(const json& j) {
  described d;
  FLYWHEEL_TRY(d.name, text(j, "name"));
  if (!is_tensor_name(d.name))
    return bad("a tensor has no acceptable name");
  FLYWHEEL_TRY(const auto type, text(j, "type"));
  const auto known = tensor_type_from_name(type);
  if (!known)
    return bad("tensor " + d.name + " has the unknown type '" + printable(type, 20) + "'");
  d.type = *known;
  FLYWHEEL_TRY(const auto* shape, list(j, "shape", tensor_rank_max));
  for (const auto& extent : *shape) {
    if (!extent.is_number_unsigned())
      return bad("tensor " + d.name + " has an unusable shape");
    d.shape.push_back(extent.get<u64>());
  }
  const auto bytes = bytes_needed(d.shape, d.type);
  if (!bytes || *bytes > bytes_max)
    return bad("tensor " + d.name + " has an impossible size");
  return d;
}

result<element_range> range_in(const json& j, const std::string& name, u64 elements) {
  element_range r;
  FLYWHEEL_TRY(r.begin, number(j, "begin", elements));
  FLYWHEEL_TRY(r.end, number(j, "end", elements));
  if (r.begin > r.end)
    return bad("tensor " + name + " has a part that ends before it begins");
  return r;
}

/// A part of `bytes` at `offset` lies behind the shard's head, and its checksums in its table.
status check_place(const shard_entry& s, const std::string& name, u64 bytes, u64 offset, u64 first_block) {
  if (bytes > 0 && (offset < s.head_bytes || offset > s.bytes || bytes > s.bytes - offset))
    return bad("tensor " + name + " does not lie within its shard");
  if (first_block > s.table_blocks || hash_blocks_in(bytes) > s.table_blocks - first_block)
    return bad("tensor " + name + " has no checksums");
  return success();
}

/// Parsed body of a sealed document of this kind and version.
result<json> body_of(const fs::path& path, const char* kind) {
  FLYWHEEL_TRY(const auto document, read_document(path, manifest_bytes_max));
  json j = json::parse(document.body, nullptr, false);
  if (!j.is_object() || j.value("format", json{}) != kind)
    return error{errc::invalid_format, std::string{"this is no "} + kind, path.string()};
  if (j.value("version", json{}) != format_version)
    return error{errc::incompatible_version, "version " + printable(j.value("version", json{}).dump(), 20), path.string(),
                 "use the program that wrote it, or a newer one"};
  return j;
}

error&& at(error&& e, const fs::path& path) {
  if (e.where.empty())
    e.where = path.string();
  return std::move(e);
}

status check_coverage(const stored_tensor& t) {
  u64 next = 0;
  for (const auto& p : t.parts) {
    if (p.range.begin != next || p.range.end <= p.range.begin)
      return bad("tensor " + t.name + (p.range.begin < next ? " has parts that overlap at element " : " lacks a part at element ") +
                 std::to_string(std::min(p.range.begin, next)));
    next = p.range.end;
  }
  return next == t.elements() ? success() : bad("tensor " + t.name + " lacks its elements from " + std::to_string(next) + " on");
}

/// No byte of a shard belongs to two tensors: what is read is never more than what lies there.
status check_no_overlap(const checkpoint_manifest& m) {
  struct extent {
    std::uint32_t shard;
    u64 begin, end;
    auto operator<=>(const extent&) const = default;
  };
  std::vector<extent> all;
  for (const auto& t : m.tensors)
    for (const auto& p : t.parts)
      all.push_back({p.shard, p.offset, p.offset + p.range.size() * size_of(t.type)});
  std::sort(all.begin(), all.end());
  for (std::size_t i = 1; i < all.size(); ++i)
    if (all[i].shard == all[i - 1].shard && all[i].begin < all[i - 1].end)
      return bad("two tensors overlap in shard " + std::to_string(all[i].shard));
  return success();
}

result<checkpoint_manifest> manifest_from(const json& j) {
  checkpoint_manifest m;
  FLYWHEEL_TRY(m.id.step, number(j, "step"));
  FLYWHEEL_TRY(m.id.attempt, number(j, "attempt"));
  FLYWHEEL_TRY(m.attributes, text(j, "attributes"));
  FLYWHEEL_TRY(const auto block, number(j, "block_bytes"));
  if (block != hash_block_bytes)
    return bad("the checksums are of blocks of another size");
  FLYWHEEL_TRY(const auto* shards, list(j, "shards", ranks_max));
  for (const auto& s : *shards) {
    FLYWHEEL_TRY(const auto entry, shard_from(s));
    m.shards.push_back(entry);
  }
  FLYWHEEL_TRY(const auto* tensors, list(j, "tensors", tensors_max));
  for (const auto& one : *tensors) {
    FLYWHEEL_TRY(auto d, described_in(one));
    if (!m.tensors.empty() && m.tensors.back().name >= d.name)
      return bad("the tensors are not in the order of their names, or one is there twice");
    stored_tensor t{std::move(d.name), d.type, std::move(d.shape), {}};
    FLYWHEEL_TRY(const auto* parts, list(one, "parts", ranks_max));
    for (const auto& q : *parts) {
      stored_part p;
      FLYWHEEL_TRY(p.range, range_in(q, t.name, t.elements()));
      FLYWHEEL_TRY(const auto shard, number(q, "shard"));
      if (shard >= m.shards.size())
        return bad("tensor " + t.name + " lies in a shard that there is not");
      p.shard = static_cast<std::uint32_t>(shard);
      FLYWHEEL_TRY(p.offset, number(q, "offset"));
      FLYWHEEL_TRY(p.first_block, number(q, "first_block"));
      FLYWHEEL_CHECK(check_place(m.shards[p.shard], t.name, p.range.size() * size_of(t.type), p.offset, p.first_block));
      t.parts.push_back(p);
    }
    FLYWHEEL_CHECK(check_coverage(t));
    m.tensors.push_back(std::move(t));
  }
  FLYWHEEL_CHECK(check_no_overlap(m));
  return m;
}

result<shard_receipt> receipt_from(const json& j) {
  shard_receipt r;
  FLYWHEEL_TRY(r.id.step, number(j, "step"));
  FLYWHEEL_TRY(r.id.attempt, number(j, "attempt"));
  FLYWHEEL_TRY(const auto ranks, number(j, "ranks", ranks_max));
  FLYWHEEL_TRY(const auto rank, number(j, "rank", ranks_max));
  if (rank >= ranks)
    return bad("the rank is none of the ranks");
  r.rank = static_cast<std::uint32_t>(rank);
  r.ranks = static_cast<std::uint32_t>(ranks);
  FLYWHEEL_TRY(r.attributes, text(j, "attributes"));
  const auto shard = j.find("shard");
  if (shard == j.end())
    return bad("the field shard is missing");
  FLYWHEEL_TRY(r.shard, shard_from(*shard));
  FLYWHEEL_TRY(const auto* parts, list(j, "parts", tensors_max));
  for (const auto& q : *parts) {
    FLYWHEEL_TRY(auto d, described_in(q));
    tensor_part p{std::move(d.name), d.type, std::move(d.shape), {}};
    FLYWHEEL_TRY(p.range, range_in(q, p.name, elements_of(p.shape).value_or(0)));
    placed_part where;
    where.bytes = p.bytes();
    FLYWHEEL_TRY(where.offset, number(q, "offset"));
    FLYWHEEL_TRY(where.first_block, number(q, "first_block"));
    FLYWHEEL_CHECK(check_place(r.shard, p.name, where.bytes, where.offset, where.first_block));
    r.parts.push_back(std::move(p));
    r.placed.push_back(where);
  }
  return r;
}

std::string numbered(const char* form, std::uint32_t rank, std::uint32_t ranks) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), form, rank, ranks);
  return name.data();
}

} // namespace

std::string shard_file_name(std::uint32_t rank, std::uint32_t ranks) { return numbered("shard-%05u-of-%05u.h5", rank, ranks); }
std::string receipt_file_name(std::uint32_t rank, std::uint32_t ranks) { return numbered("shard-%05u-of-%05u.json", rank, ranks); }

const stored_tensor* checkpoint_manifest::find(std::string_view name) const noexcept {
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), name, [](const auto& t, std::string_view n) { return t.name < n; });
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

result<checkpoint_manifest> make_manifest(std::vector<shard_receipt> receipts) {
  const auto refuse = [](const std::string& what) { return error{errc::invalid_argument, what}; };
  if (receipts.empty())
    return refuse("a checkpoint has at least one shard");
  std::sort(receipts.begin(), receipts.end(), [](const auto& a, const auto& b) { return a.rank < b.rank; });
  checkpoint_manifest m;
  m.id = receipts.front().id;
  m.attributes = receipts.front().attributes;
  std::map<std::string, stored_tensor> tensors;
  for (std::uint32_t rank = 0; rank < receipts.size(); ++rank) {
    const auto& r = receipts[rank];
    if (r.rank != rank || r.ranks != receipts.size() || r.id != m.id)
      return refuse("these are not the shards of one checkpoint: rank " + std::to_string(rank) + " is missing or of another");
    m.shards.push_back(r.shard);
    for (std::size_t i = 0; i < r.parts.size(); ++i) {
      const auto& p = r.parts[i];
      const auto [found, fresh] = tensors.try_emplace(p.name, stored_tensor{p.name, p.type, p.shape, {}});
      if (found->second.type != p.type || found->second.shape != p.shape)
        return refuse("tensor " + p.name + " has another type or shape on rank " + std::to_string(rank) + " than on one before");
      if (p.range.size() > 0)
        found->second.parts.push_back({p.range, rank, r.placed[i].offset, r.placed[i].first_block});
    }
  }
  for (auto& [name, t] : tensors) {
    std::sort(t.parts.begin(), t.parts.end(), [](const auto& a, const auto& b) { return a.range.begin < b.range.begin; });
    if (auto s = check_coverage(t); !s)
      return refuse(s.error().what);
    m.tensors.push_back(std::move(t));
  }
  return m;
}

std::string manifest_to_text(const checkpoint_manifest& m) {
  json shards = json::array(), tensors = json::array();
  for (std::uint32_t rank = 0; rank < m.shards.size(); ++rank) {
    auto s = to_json(m.shards[rank]);
    s["file"] = shard_file_name(rank, static_cast<std::uint32_t>(m.shards.size()));
    shards.push_back(std::move(s));
  }
  for (const auto& t : m.tensors) {
    json parts = json::array();
    for (const auto& p : t.parts)
      parts.push_back({{"begin", p.range.begin}, {"end", p.range.end}, {"shard", p.shard}, {"offset", p.offset}, {"first_block", p.first_block}});
    tensors.push_back({{"name", t.name}, {"type", name_of(t.type)}, {"shape", t.shape}, {"parts", std::move(parts)}});
  }
  return seal_document({{"format", manifest_kind}, {"version", format_version}, {"step", m.id.step}, {"attempt", m.id.attempt},
                        {"attributes", m.attributes}, {"block_bytes", hash_block_bytes}, {"shards", std::move(shards)},
                        {"tensors", std::move(tensors)}});
}

std::string receipt_to_text(const shard_receipt& r) {
  json parts = json::array();
  for (std::size_t i = 0; i < r.parts.size(); ++i) {
    const auto& p = r.parts[i];
    parts.push_back({{"name", p.name}, {"type", name_of(p.type)}, {"shape", p.shape}, {"begin", p.range.begin}, {"end", p.range.end},
                     {"offset", r.placed[i].offset}, {"first_block", r.placed[i].first_block}});
  }
  return seal_document({{"format", receipt_kind}, {"version", format_version}, {"step", r.id.step}, {"attempt", r.id.attempt},
                        {"rank", r.rank}, {"ranks", r.ranks}, {"attributes", r.attributes}, {"shard", to_json(r.shard)},
                        {"parts", std::move(parts)}});
}

result<checkpoint_manifest> read_manifest(const fs::path& path) {
  FLYWHEEL_TRY(const auto j, body_of(path, manifest_kind));
  auto m = manifest_from(j);
  if (!m)
    return at(std::move(m).error(), path);
  return m;
}

result<shard_receipt> read_receipt(const fs::path& path) {
  FLYWHEEL_TRY(const auto j, body_of(path, receipt_kind));
  auto r = receipt_from(j);
  if (!r)
    return at(std::move(r).error(), path);
  return r;
}

} // namespace flywheel
