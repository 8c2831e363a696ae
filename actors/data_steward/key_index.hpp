#pragma once
// Was this key there before? Exact for integers; texts are compared by 128 bits of hash.
//
// Integers that lie close together take a bit each (pages of 65,536); others, and texts, an open hash table. When the
// table would outgrow its memory, later keys are written to a temporary file, split by hash, and compared at the end:
// memory stays bounded, the answer is the same, it only comes later.

#include "actors/data_steward/block_checker.hpp"
#include "cluster/base/error.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <unordered_map>
#include <vector>

namespace flywheel {

/// Where a row is, for naming a duplicate that is found late.
struct row_place {
  std::uint64_t row = 0, line = 0;
};

class key_index {
public:
  /// `folder`: for the temporary file; it has no name there and dies with the process.
  key_index(std::size_t memory_max, std::filesystem::path folder);
  ~key_index();
  key_index(key_index&&) noexcept;
  key_index& operator=(key_index&&) noexcept;

  /// True if the key was there before. False may be preliminary once keys are spilled.
  result<bool> insert(std::int64_t key, row_place at) {
    if (pages_alive_) [[likely]] {
      const auto number = static_cast<std::uint64_t>(key);
      if (number >> page_shift != last_page_number_ || last_page_ == nullptr) {
        FLYWHEEL_CHECK(find_page(number >> page_shift));
        if (!pages_alive_)
          return insert(key_value{number, 0}, at);
      }
      std::uint64_t& word = last_page_[(number & page_mask) >> 6];
      const std::uint64_t bit = std::uint64_t{1} << (number & 63);
      const bool there = (word & bit) != 0;
      word |= bit;
      count_ += !there;
      return there;
    }
    return insert(key_value{static_cast<std::uint64_t>(key), 0}, at);
  }
  result<bool> insert(key_value key, row_place at);
  /// The duplicates that only the spilled keys reveal, by row. Call once, after the last insert.
  result<std::vector<row_place>> finish();
  std::size_t memory() const noexcept;

private:
  static constexpr unsigned page_shift = 16;
  static constexpr std::uint64_t page_mask = (std::uint64_t{1} << page_shift) - 1;
  static constexpr std::size_t page_words = (std::size_t{1} << page_shift) / 64;

  status find_page(std::uint64_t number);
  void pages_to_table();
  void grow(std::size_t capacity);
  bool insert_in_table(key_value key);
  status spill(key_value key, row_place at);

  struct spill_files;
  std::size_t memory_max_;
  std::filesystem::path folder_;
  bool pages_alive_ = true;
  std::unordered_map<std::uint64_t, std::unique_ptr<std::uint64_t[]>> pages_;
  std::uint64_t last_page_number_ = 0;
  std::uint64_t* last_page_ = nullptr;
  std::uint64_t count_ = 0;
  std::vector<key_value> table_;  ///< power of two; all zero is an empty place
  std::uint64_t in_table_ = 0;
  bool zero_there_ = false;
  std::unique_ptr<spill_files> spill_;
};

} // namespace flywheel
