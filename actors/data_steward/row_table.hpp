#pragma once
// The rows that passed, gathered by column while a pass runs, with the broken rules written beside. Holds 8 bytes for a
// number, 4 for a category and 8 for the row's number; nothing else grows with the rows.

#include "actors/data_steward/checking_pass.hpp"
#include "cluster/content/file.hpp"
#include "cluster/dataset/table.hpp"

#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

namespace flywheel {

class row_table final : public pass_sink {
public:
  /// Writes quarantine lines to `quarantine`, which is created.
  static result<row_table> create(const compiled_contract& contract, const std::filesystem::path& quarantine);

  status take(const checked_block& block, std::size_t thread, const block_checker& checker,
              const std::vector<std::uint64_t>& rows) override;
  status reject(const violation& v) override;
  status withdraw(const std::vector<std::uint64_t>& rows) override;

  /// After the pass: the table, categories in order of first appearance in the file, and the quarantine file flushed.
  /// Columns with more texts than are kept have no codes and are named in `overflowed`.
  result<table> finish(std::vector<std::string>& overflowed);

private:
  explicit row_table(const compiled_contract& contract) : contract_(&contract) {}
  struct coding {
    std::unordered_map<std::string, std::int32_t> codes;
    std::vector<std::vector<std::int32_t>> from_thread; ///< by thread and its code
    bool overflowed = false;
  };
  status flush();

  const compiled_contract* contract_;
  table table_;
  std::vector<coding> coding_;
  std::filesystem::path quarantine_;
  file_handle file_;
  std::string buffer_;
};

} // namespace flywheel
