#pragma once
// The texts of one column and their codes. Made for cells of at most 16 bytes, which take one comparison of 16 bytes;
// longer ones go through a map. Not thread-safe: each checking thread has its own.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace flywheel {

/// Codes below zero are verdicts, kept beside the categories so that each distinct text is judged once.
inline constexpr std::int32_t code_null = -1, code_not_allowed = -2, code_no_match = -3, code_overflow = -4,
                              code_absent = -5;

class category_dictionary {
public:
  struct short_text {
    std::uint64_t low = 0, high = 0;
    bool operator==(const short_text&) const = default;
  };
  /// `size` <= 16; reads 16 bytes from `text` whatever the size.
  static short_text pack(const char* text, std::size_t size) noexcept {
    short_text t;
    std::memcpy(&t.low, text, 8);
    std::memcpy(&t.high, text + 8, 8);
    t.low &= masks[size].low;
    t.high &= masks[size].high;
    return t;
  }
  /// The code of a packed text, code_absent if it is not known.
  std::int32_t find(const short_text& t) const noexcept {
    for (std::size_t i = slot_of(t);; i = (i + 1) & mask_) {
      const slot& s = slots_[i];
      if (s.text == t)
        return s.code;
      if (s.code == code_absent)
        return code_absent;
    }
  }
  std::int32_t find(std::string_view text) const;

  /// Adds a text that is absent, as the next category or with a verdict (< 0).
  std::int32_t add_category(std::string_view text);
  void add_verdict(std::string_view text, std::int32_t verdict) { insert(text, verdict); }
  /// By code.
  const std::vector<std::string>& categories() const noexcept { return categories_; }
  /// Texts known, categories and verdicts.
  std::size_t size() const noexcept { return used_ + long_.size(); }

  category_dictionary() : slots_(64), mask_(63) {}

private:
  struct slot {
    short_text text;
    std::int32_t code = code_absent;
  };
  static const short_text masks[17];
  std::size_t slot_of(const short_text& t) const noexcept {
    const std::uint64_t h = (t.low ^ (t.high * 0x9e3779b97f4a7c15ULL)) * 0xff51afd7ed558ccdULL;
    return static_cast<std::size_t>(h >> 40) & mask_;
  }
  void insert(std::string_view text, std::int32_t code);

  std::vector<slot> slots_; ///< open addressing, at most a quarter full
  std::size_t mask_, used_ = 0;
  std::unordered_map<std::string, std::int32_t> long_;
  std::vector<std::string> categories_;
};

} // namespace flywheel
