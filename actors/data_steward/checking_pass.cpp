#include "actors/data_steward/checking_pass.hpp"

#include "actors/data_steward/key_index.hpp"
#include "actors/data_steward/record_splitter.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>

namespace flywheel {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// What one thread owns.
struct checking_thread {
  checking_thread(const compiled_contract& contract, const record_layout& layout, const check_options& options,
                  const structure_scanner& scanner)
      : checker(contract, layout, options.cell_bytes_max, scanner), counts(contract.columns.size()) {}
  record_block block;
  checked_block checked;
  block_checker checker;
  std::vector<std::vector<std::uint64_t>> counts;  ///< by column and code
  std::vector<std::uint64_t> rows;
};

class checking_pass {
public:
  checking_pass(const compiled_contract& contract, const check_options& options, pass_sink* sink,
                const std::atomic<bool>& stop, data_file file, record_layout layout)
      : contract_(contract), options_(options), sink_(sink), stop_(stop), file_(std::move(file)), layout_(std::move(layout)),
        scanner_(options.portable ? plain_scanner() : best_scanner()),
        splitter_(*file_.source, file_.format, file_.separator, {options.block_bytes, options.record_bytes_max}, scanner_) {
    splitter_.put_back(std::exchange(file_.rest, {}));
    const auto folder = options.temporary.empty() ? std::filesystem::temp_directory_path() : options.temporary;
    const std::size_t sets = (contract.key.empty() ? 0 : 1) + contract.unique.size();
    for (std::size_t i = 0; i < sets; ++i)
      keys_.emplace_back(options.key_memory_max / sets, folder);
    lines_ = file_.header_lines;
    summary_.columns.resize(contract.columns.size());
    for (auto& c : summary_.columns)
      c.min = infinity, c.max = -infinity;
  }

  result<pass_summary> run() {
    const std::size_t count = std::clamp<std::size_t>(options_.threads, 1, 256);
    for (std::size_t i = 0; i < count; ++i)
      threads_.push_back(std::make_unique<checking_thread>(contract_, layout_, options_, scanner_));
    {
      std::vector<std::jthread> helpers;
      for (std::size_t i = 1; i < count; ++i)
        helpers.emplace_back([this, i] { work(i); });
      work(0);
    }
    if (!failure_.ok())
      return failure_.error();
    FLYWHEEL_CHECK(late_duplicates());
    for (std::size_t i = 0; i < contract_.columns.size(); ++i)
      gather_counts(i);
    summary_.format = file_.format == record_format::csv ? "csv" : "jsonl";
    summary_.compression = file_.source->compression();
    summary_.bytes = file_.source->position();
    for (const auto& name : file_.names)
      if (std::none_of(contract_.columns.begin(), contract_.columns.end(), [&](const auto& c) { return c.name == name; }))
        summary_.not_in_contract.push_back(name);
    return std::move(summary_);
  }

private:
  void fail(error e) {
    const std::lock_guard lock(merging_);
    if (failure_.ok())
      failure_ = std::move(e);
    failed_ = true;
    turn_changed_.notify_all();
  }

  void work(std::size_t index) noexcept {
    try {
      checking_thread& me = *threads_[index];
      for (;;) {
        std::uint64_t ticket = 0;
        {
          const std::lock_guard lock(reading_);
          if (failed_ || ended_)
            return;
          if (stop_)
            return fail({errc::cancelled, "the check was stopped"});
          auto more = splitter_.next(me.block);
          if (!more)
            return fail(std::move(more).error());
          if (!*more) {
            ended_ = true;
            return;
          }
          ticket = next_ticket_++;
          if (options_.progress && ticket % 16 == 0)
            options_.progress(file_.source->position(), file_.source->size());
        }
        me.checker.check(me.block, me.checked);
        {
          std::unique_lock lock(merging_);
          turn_changed_.wait(lock, [&] { return turn_ == ticket || failed_; });
          if (failed_)
            return;
          if (auto s = merge(index, me); !s) {
            lock.unlock();
            return fail(std::move(s).error());
          }
          ++turn_;
          turn_changed_.notify_all();
        }
        count_categories(me);
      }
    } catch (const std::bad_alloc&) {
      fail({errc::out_of_memory, "while checking a block", {}, "use fewer threads or smaller blocks"});
    } catch (const std::exception& e) {
      fail({errc::internal, e.what()});
    }
  }

  void report(violation v) {
    ++summary_.by_rule[v.rule];
    if (sink_ != nullptr && sink_failure_.ok())
      sink_failure_ = sink_->reject(v);
  }

  violation named(const block_violation& v) const {
    return {rows_ + v.record + 1, lines_ + v.line + 1,
            v.column < 0 ? std::string{} : contract_.columns[static_cast<std::size_t>(v.column)].name, std::string{v.rule}, v.value};
  }

  /// In the file's order: keys, rows, violations.
  status merge(std::size_t index, checking_thread& me) {
    checked_block& b = me.checked;
    if (!keys_.empty())
      FLYWHEEL_CHECK(find_duplicates(me));
    if (sink_ != nullptr) {
      me.rows.resize(b.slots);
      for (std::uint32_t slot = 0; slot < b.slots; ++slot)
        me.rows[slot] = rows_ + 1 + (b.record_of.empty() ? slot : b.record_of[slot]);
      FLYWHEEL_CHECK(sink_->take(b, index, me.checker, me.rows));
    }
    for (const block_violation& v : b.violations)
      report(named(v));
    std::uint64_t bad = b.records - b.slots;
    for (const auto flag : b.bad)
      bad += flag;
    rows_ += b.records;
    lines_ += b.lines;
    for (const broken_record& broken : me.block.broken) {
      report({++rows_, ++lines_, {}, std::string{broken.rule}, printable(broken.beginning, 120)});
      ++bad;
    }
    summary_.rows_read = rows_;
    summary_.rows_bad += bad;
    for (std::size_t i = 0; i < summary_.columns.size(); ++i) {
      pass_column& c = summary_.columns[i];
      c.nulls += b.columns[i].nulls;
      c.violations += b.columns[i].violations;
      if (!is_coded(contract_.columns[i].type)) {
        c.min = std::min(c.min, b.columns[i].min);
        c.max = std::max(c.max, b.columns[i].max);
      }
    }
    return std::exchange(sink_failure_, success());
  }

  /// A row claims its keys only if nothing else is wrong with it: a bad row must not push out a good one.
  status find_duplicates(checking_thread& me) {
    checked_block& b = me.checked;
    const std::size_t before = b.violations.size();
    for (std::uint32_t slot = 0; slot < b.slots; ++slot) {
      if (b.bad[slot] != 0)
        continue;
      const std::uint32_t record = b.record_of.empty() ? slot : b.record_of[slot];
      for (std::size_t k = 0; k < keys_.size(); ++k) {
        if (b.key_null[k][slot] != 0)
          continue;
        const row_place at{rows_ + record + 1, 0};
        const std::size_t column = me.checker.key_sets()[k].front();
        FLYWHEEL_TRY(const bool there, me.checker.exact_keys(k) ? keys_[k].insert(b.columns[column].integers[slot], at)
                                                                : keys_[k].insert(b.keys[k][slot], at));
        if (!there)
          continue;
        const bool is_key = k == 0 && !contract_.key.empty();
        b.bad[slot] = 1;
        b.violations.push_back({record, b.offset_of[slot], 0, static_cast<std::int32_t>(column), is_key ? "key" : "unique",
                                me.checker.text_of(slot, column)});
        ++b.columns[column].violations;
        summary_.key_duplicates += is_key;
        break;
      }
    }
    if (b.violations.size() == before)
      return success();
    std::uint32_t line = 0, counted = 0;
    for (std::size_t i = before; i < b.violations.size(); ++i) {
      block_violation& v = b.violations[i];
      line += static_cast<std::uint32_t>(std::count(me.block.text() + counted, me.block.text() + v.offset, '\n'));
      counted = v.offset;
      v.line = line;
    }
    std::stable_sort(b.violations.begin(), b.violations.end(), [](const auto& x, const auto& y) { return x.record < y.record; });
    return success();
  }

  void count_categories(checking_thread& me) {
    const checked_block& b = me.checked;
    for (std::size_t i = 0; i < contract_.columns.size(); ++i) {
      if (!is_coded(contract_.columns[i].type))
        continue;
      auto& counts = me.counts[i];
      counts.resize(me.checker.dictionary(i).categories().size());
      const std::int32_t* codes = b.columns[i].codes.data();
      for (std::uint32_t slot = 0; slot < b.slots; ++slot)
        if (codes[slot] >= 0 && b.bad[slot] == 0)
          ++counts[static_cast<std::size_t>(codes[slot])];
    }
  }

  void gather_counts(std::size_t column) {
    pass_column& c = summary_.columns[column];
    for (const auto& t : threads_) {
      const auto& categories = t->checker.dictionary(column).categories();
      for (std::size_t code = 0; code < t->counts[column].size(); ++code)
        if (t->counts[column][code] > 0)
          c.counts[categories[code]] += t->counts[column][code];
      c.overflowed |= t->checker.overflowed(column);
    }
  }

  status late_duplicates() {
    std::vector<std::uint64_t> withdrawn;
    for (std::size_t k = 0; k < keys_.size(); ++k) {
      const bool is_key = k == 0 && !contract_.key.empty();
      const std::size_t column = threads_.front()->checker.key_sets()[k].front();
      FLYWHEEL_TRY(const auto late, keys_[k].finish());
      for (const row_place& at : late) {
        withdrawn.push_back(at.row);
        ++summary_.columns[column].violations;
        summary_.key_duplicates += is_key;
        report({at.row, at.line, contract_.columns[column].name, is_key ? "key" : "unique", ""});
      }
    }
    std::sort(withdrawn.begin(), withdrawn.end());
    withdrawn.erase(std::unique(withdrawn.begin(), withdrawn.end()), withdrawn.end());
    summary_.rows_bad += withdrawn.size();
    if (sink_ != nullptr && !withdrawn.empty())
      FLYWHEEL_CHECK(sink_->withdraw(withdrawn));
    return std::exchange(sink_failure_, success());
  }

  const compiled_contract& contract_;
  const check_options& options_;
  pass_sink* sink_;
  const std::atomic<bool>& stop_;
  data_file file_;
  record_layout layout_;
  const structure_scanner& scanner_;
  record_splitter splitter_;
  std::vector<std::unique_ptr<checking_thread>> threads_;

  std::mutex reading_;              ///< guards splitter_, ended_, next_ticket_
  std::atomic<bool> ended_ = false;
  std::uint64_t next_ticket_ = 0;

  std::mutex merging_;              ///< guards everything below; blocks pass in the order of their tickets
  std::condition_variable turn_changed_;
  std::uint64_t turn_ = 0;
  std::atomic<bool> failed_ = false;
  status failure_, sink_failure_;
  std::vector<key_index> keys_;
  std::uint64_t rows_ = 0, lines_ = 0;
  pass_summary summary_;
};

} // namespace

result<pass_summary> run_pass(const data_spec& data, const compiled_contract& contract, const check_options& options,
                              hasher* hash, pass_sink* sink, const std::atomic<bool>& stop) {
  FLYWHEEL_TRY(data_file file, open_data_file(data, hash));
  FLYWHEEL_TRY(record_layout layout, lay_out(file, contract, data.source));
  checking_pass pass(contract, options, sink, stop, std::move(file), std::move(layout));
  return pass.run();
}

} // namespace flywheel
