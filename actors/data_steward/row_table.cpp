#include "actors/data_steward/row_table.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/limits.hpp"

#include <algorithm>
#include <fcntl.h>

namespace flywheel {

result<row_table> row_table::create(const compiled_contract& contract, const std::filesystem::path& quarantine) {
  row_table t(contract);
  t.quarantine_ = quarantine;
  FLYWHEEL_TRY(t.file_, open_file(quarantine, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  t.coding_.resize(contract.columns.size());
  for (const auto& c : contract.columns) {
    column& to = t.table_.columns.emplace_back();
    to.name = c.name;
    to.type = is_coded(c.type) ? column_type::categorical : column_type::numeric;
  }
  return t;
}

status row_table::take(const checked_block& block, std::size_t thread, const block_checker& checker,
                       const std::vector<std::uint64_t>& rows) {
  for (std::uint32_t slot = 0; slot < block.slots; ++slot)
    if (block.bad[slot] == 0)
      table_.row_ids.push_back(rows[slot]);
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    column& to = table_.columns[i];
    const checked_column& from = block.columns[i];
    if (to.type == column_type::numeric) {
      for (std::uint32_t slot = 0; slot < block.slots; ++slot)
        if (block.bad[slot] == 0)
          to.numbers.push_back(from.numbers[slot]);
      continue;
    }
    coding& c = coding_[i];
    if (c.overflowed)
      continue;
    if (c.from_thread.size() <= thread)
      c.from_thread.resize(thread + 1);
    auto& mine = c.from_thread[thread];
    const auto& texts = checker.dictionary(i).categories();
    mine.resize(texts.size(), code_absent);
    for (std::uint32_t slot = 0; slot < block.slots; ++slot) {
      if (block.bad[slot] != 0)
        continue;
      const std::int32_t code = from.codes[slot];
      if (code == code_overflow) {
        c.overflowed = true;
        break;
      }
      if (code < 0) {
        to.codes.push_back(-1);
        continue;
      }
      std::int32_t& known = mine[static_cast<std::size_t>(code)];
      if (known == code_absent) {
        const auto& text = texts[static_cast<std::size_t>(code)];
        const auto [at, added] = c.codes.emplace(text, static_cast<std::int32_t>(to.categories.size()));
        if (added)
          to.categories.push_back(text);
        known = at->second;
      }
      to.codes.push_back(known);
    }
    if (c.overflowed || to.categories.size() > limits::categories_max) {
      c.overflowed = true;
      to.codes = {};
      to.categories = {};
      c.codes = {};
    }
  }
  return success();
}

status row_table::flush() {
  FLYWHEEL_CHECK(write_all(file_.get(), buffer_, quarantine_));
  buffer_.clear();
  return success();
}

status row_table::reject(const violation& v) {
  buffer_ += to_json(v).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  buffer_ += '\n';
  return buffer_.size() < limits::mib ? success() : flush();
}

status row_table::withdraw(const std::vector<std::uint64_t>& rows) {
  std::vector<std::uint32_t> kept;
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < table_.rows(); ++i) {
    while (next < rows.size() && rows[next] < table_.row_ids[i])
      ++next;
    if (next == rows.size() || rows[next] != table_.row_ids[i])
      kept.push_back(i);
  }
  for (std::size_t i = 0; i < table_.columns.size(); ++i) // select() reads every row of every column
    if (coding_[i].overflowed)
      table_.columns[i].codes.assign(table_.rows(), -1);
  table_ = table_.select(kept);
  return success();
}

result<table> row_table::finish(std::vector<std::string>& overflowed) {
  FLYWHEEL_CHECK(flush());
  FLYWHEEL_CHECK(file_.close(quarantine_));
  table out;
  out.row_ids = std::move(table_.row_ids);
  for (std::size_t i = 0; i < table_.columns.size(); ++i)
    if (coding_[i].overflowed)
      overflowed.push_back(table_.columns[i].name);
    else
      out.columns.push_back(std::move(table_.columns[i]));
  return out;
}

} // namespace flywheel
