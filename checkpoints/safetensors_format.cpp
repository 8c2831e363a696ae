#include "checkpoints/safetensors_format.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace flywheel {

namespace {

using nlohmann::json;
using u64 = std::uint64_t;

struct foreign_type {
  std::string_view name;
  tensor_type type;
};
constexpr std::array<foreign_type, 13> types{{{"F64", tensor_type::f64}, {"F32", tensor_type::f32}, {"F16", tensor_type::f16},
                                              {"BF16", tensor_type::bf16}, {"I64", tensor_type::i64}, {"I32", tensor_type::i32},
                                              {"I16", tensor_type::i16}, {"I8", tensor_type::i8}, {"U64", tensor_type::u64},
                                              {"U32", tensor_type::u32}, {"U16", tensor_type::u16}, {"U8", tensor_type::u8},
                                              {"BOOL", tensor_type::u8}}};

std::string_view foreign_name(tensor_type type) {
  return std::find_if(types.begin(), types.end(), [&](const auto& t) { return t.type == type; })->name;
}

error bad(std::string what) { return error{errc::invalid_format, std::move(what)}; }

/// Takes the JSON value by value and stops at the first that does not belong, so that nesting or repetition cost nothing.
class header_reader : public nlohmann::json_sax<json> {
public:
  safetensors_header header;
  std::optional<error> problem;

  bool start_object(std::size_t) override {
    if (depth_ == 0 && !done_)
      ++depth_;
    else if (depth_ == 1 && place_ == place::tensor) {
      ++depth_;
      current_ = {};
      current_.name = name_;
      seen_ = {};
    } else if (depth_ == 1 && place_ == place::metadata) {
      ++depth_;
    } else {
      return refuse("an object where none belongs");
    }
    return true;
  }

  bool key(std::string& k) override {
    if (depth_ == 1) {
      if (!names_.insert(k).second)
        return refuse("the key '" + printable(k, 60) + "' is there twice");
      name_ = k;
      place_ = k == "__metadata__" ? place::metadata : place::tensor;
      if (names_.size() > tensors_max)
        return refuse("there are more than " + std::to_string(tensors_max) + " tensors");
      if (place_ == place::tensor && !is_tensor_name(k)) {
        problem = error{errc::unsupported, "the name '" + printable(k, 60) + "' has other than letters, digits, '.', '_' and '-', or too many"};
        return false;
      }
    } else if (place_ == place::metadata) {
      name_ = k;
      if (header.metadata.contains(k))
        return refuse("the key '" + printable(k, 60) + "' is there twice in __metadata__");
    } else {
      field_ = k == "dtype" ? 0 : k == "shape" ? 1 : k == "data_offsets" ? 2 : 3;
      if (field_ == 3 || seen_[static_cast<std::size_t>(field_)])
        return refuse("tensor " + name_ + " has the key '" + printable(k, 60) + (field_ == 3 ? "', which is none of the format" : "' twice"));
      seen_[static_cast<std::size_t>(field_)] = true;
    }
    return true;
  }

  bool string(std::string& s) override {
    if (depth_ == 2 && place_ == place::metadata) {
      header.metadata[name_] = s;
      return true;
    }
    if (depth_ != 2 || place_ != place::tensor || field_ != 0 || in_array_)
      return refuse("a text where none belongs");
    const auto known = std::find_if(types.begin(), types.end(), [&](const auto& t) { return t.name == s; });
    if (known == types.end()) {
      problem = error{errc::unsupported, "tensor " + name_ + " has the element type '" + printable(s, 20) + "'", {},
                      "convert it to F64, F32, F16, BF16, BOOL or integers first"};
      return false;
    }
    current_.type = known->type;
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || place_ != place::tensor || (field_ != 1 && field_ != 2) || in_array_)
      return refuse("a list where none belongs");
    in_array_ = true;
    numbers_.clear();
    return true;
  }

  bool number_unsigned(json::number_unsigned_t n) override {
    if (!in_array_ || numbers_.size() >= (field_ == 1 ? tensor_rank_max : 2))
      return refuse(in_array_ ? "tensor " + name_ + " has too many dimensions or offsets" : "a number where none belongs");
    numbers_.push_back(n);
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    if (field_ == 1) {
      current_.shape = numbers_;
    } else if (numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
      return refuse("tensor " + name_ + " has no range");
    } else {
      current_.begin = numbers_[0];
      current_.end = numbers_[1];
    }
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ == 0)
      done_ = true;
    if (depth_ != 1 || place_ != place::tensor)
      return true;
    if (!seen_[0] || !seen_[1] || !seen_[2])
      return refuse("tensor " + name_ + " lacks dtype, shape or data_offsets");
    const auto bytes = bytes_needed(current_.shape, current_.type);
    if (!bytes || *bytes != current_.end - current_.begin)
      return refuse("tensor " + name_ + " has a shape that does not fit its range");
    header.tensors.push_back(std::move(current_));
    return true;
  }

  bool null() override { return refuse("null where none belongs"); }
  bool boolean(bool) override { return refuse("a truth value where none belongs"); }
  bool number_integer(json::number_integer_t) override { return refuse("a negative number"); }
  bool number_float(json::number_float_t, const std::string&) override { return refuse("a number that is no size"); }
  bool binary(json::binary_t&) override { return refuse("binary where none belongs"); }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception&) override {
    return refuse("the header is no JSON from byte " + std::to_string(at) + " on");
  }

private:
  enum class place { metadata, tensor };
  bool refuse(const std::string& what) {
    if (!problem)
      problem = bad(what);
    return false;
  }

  int depth_ = 0, field_ = 3;
  bool done_ = false, in_array_ = false;
  place place_ = place::tensor;
  std::string name_;
  std::set<std::string> names_;
  std::array<bool, 3> seen_{};
  std::vector<u64> numbers_;
  safetensors_entry current_;
};

} // namespace

result<safetensors_header> parse_safetensors_header(std::string_view text, u64 data_bytes) {
  if (text.empty() || text.front() != '{')
    return bad("the header does not begin with '{'");
  header_reader reader;
  if (!json::sax_parse(text, &reader) || reader.problem)
    return reader.problem ? std::move(*reader.problem) : bad("the header is no JSON");
  auto& tensors = reader.header.tensors;
  // Empty tensors share their place with what follows them.
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return std::pair{a.begin, a.end} < std::pair{b.begin, b.end}; });
  u64 next = 0;
  for (const auto& t : tensors) {
    if (t.begin != next)
      return bad("tensor " + t.name + (t.begin < next ? " overlaps the one before it" : " leaves a hole before it"));
    next = t.end;
  }
  if (next != data_bytes)
    return bad("the tensors end at byte " + std::to_string(next) + ", the file has " + std::to_string(data_bytes) + " bytes for them");
  return std::move(reader.header);
}

std::string make_safetensors_header(safetensors_header& h) {
  std::stable_sort(h.tensors.begin(), h.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair{size_of(b.type), std::string_view{a.name}} < std::pair{size_of(a.type), std::string_view{b.name}};
  });
  nlohmann::ordered_json j = nlohmann::ordered_json::object();
  if (!h.metadata.empty())
    j["__metadata__"] = h.metadata;
  u64 next = 0;
  for (auto& t : h.tensors) {
    t.begin = next;
    t.end = next += bytes_needed(t.shape, t.type).value_or(0);
    j[t.name] = {{"dtype", foreign_name(t.type)}, {"shape", t.shape}, {"data_offsets", {t.begin, t.end}}};
  }
  auto text = j.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

} // namespace flywheel
