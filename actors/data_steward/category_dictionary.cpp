#include "actors/data_steward/category_dictionary.hpp"

#include <array>

namespace flywheel {
namespace {

category_dictionary::short_text pack_any(std::string_view text) {
  std::array<char, 16> bytes{};
  if (!text.empty())
    std::memcpy(bytes.data(), text.data(), text.size());
  return category_dictionary::pack(bytes.data(), text.size());
}

constexpr std::uint64_t ones(std::size_t bytes) {
  return bytes >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * bytes)) - 1;
}
constexpr category_dictionary::short_text mask_of(std::size_t bytes) {
  return {ones(bytes), bytes > 8 ? ones(bytes - 8) : 0};
}

} // namespace

const category_dictionary::short_text category_dictionary::masks[17] = {
    mask_of(0), mask_of(1), mask_of(2),  mask_of(3),  mask_of(4),  mask_of(5),  mask_of(6),  mask_of(7), mask_of(8),
    mask_of(9), mask_of(10), mask_of(11), mask_of(12), mask_of(13), mask_of(14), mask_of(15), mask_of(16)};

std::int32_t category_dictionary::find(std::string_view text) const {
  if (text.size() <= 16)
    return find(pack_any(text));
  const auto at = long_.find(std::string{text});
  return at == long_.end() ? code_absent : at->second;
}

std::int32_t category_dictionary::add_category(std::string_view text) {
  const auto code = static_cast<std::int32_t>(categories_.size());
  categories_.emplace_back(text);
  insert(text, code);
  return code;
}

void category_dictionary::insert(std::string_view text, std::int32_t code) {
  if (text.size() > 16) {
    long_.emplace(text, code);
    return;
  }
  if (4 * (used_ + 1) > slots_.size()) {
    std::vector<slot> old(slots_.size() * 2);
    old.swap(slots_);
    mask_ = slots_.size() - 1;
    for (const slot& s : old)
      if (s.code != code_absent) {
        std::size_t i = slot_of(s.text);
        while (slots_[i].code != code_absent)
          i = (i + 1) & mask_;
        slots_[i] = s;
      }
  }
  const short_text t = pack_any(text);
  std::size_t i = slot_of(t);
  while (slots_[i].code != code_absent)
    i = (i + 1) & mask_;
  slots_[i] = {t, code};
  ++used_;
}

} // namespace flywheel
