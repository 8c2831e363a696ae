#include "actors/data_steward/record_splitter.hpp"

#include <algorithm>
#include <cstring>

namespace flywheel {
namespace {

constexpr std::size_t beginning_bytes = 240;

std::size_t find_newline(const char* text, std::size_t from, std::size_t size) {
  const void* at = from < size ? std::memchr(text + from, '\n', size - from) : nullptr;
  return at == nullptr ? nowhere : static_cast<std::size_t>(static_cast<const char*>(at) - text);
}

} // namespace

/// Makes room for `capacity` bytes of text and reads until they are there or the source ends.
result<bool> record_splitter::fill(record_block& block, std::size_t capacity) {
  if (block.bytes.size() < capacity + 1 + 2 * scan_padding) // one more for a missing last newline
    block.bytes.resize(capacity + 1 + 2 * scan_padding);
  if (!ended_ && block.size < capacity) {
    FLYWHEEL_TRY(const std::size_t got, source_.read(block.text() + block.size, capacity - block.size));
    ended_ = got < capacity - block.size;
    block.size += got;
  }
  return block.size > 0;
}

/// Cuts the line that begins at `begin` out of the block; what follows it is carried over.
status record_splitter::cut_broken(record_block& block, std::size_t begin, std::string_view rule) {
  const char* text = block.text();
  block.broken.push_back({rule, std::string{text + begin, std::min(beginning_bytes, block.size - begin)}});
  const std::size_t newline = find_newline(text, begin, block.size);
  if (newline != nowhere) {
    carry_.assign(text + newline + 1, block.size - newline - 1);
  } else { // the line goes on: read past it in bounded memory
    carry_.clear();
    std::vector<char> rest(64 * 1024);
    while (!ended_) {
      FLYWHEEL_TRY(const std::size_t got, source_.read(rest.data(), rest.size()));
      ended_ = got < rest.size();
      if (const std::size_t at = find_newline(rest.data(), 0, got); at != nowhere) {
        carry_.assign(rest.data() + at + 1, got - at - 1);
        break;
      }
    }
  }
  block.size = begin;
  return success();
}

result<bool> record_splitter::next(record_block& block) {
  block.broken.clear();
  block.size = carry_.size();
  std::size_t capacity = std::max(limits_.block_bytes, carry_.size());
  if (block.bytes.size() < capacity + 1 + 2 * scan_padding)
    block.bytes.resize(capacity + 1 + 2 * scan_padding);
  if (!carry_.empty())
    std::memcpy(block.text(), carry_.data(), carry_.size());
  carry_.clear();
  for (;;) {
    FLYWHEEL_TRY(const bool any, fill(block, capacity));
    if (!any)
      return false;
    char* text = block.text();
    if (ended_ && text[block.size - 1] != '\n') // the last line may lack its newline
      text[block.size++] = '\n';
    quote_scan scan;
    if (format_ == record_format::csv) {
      scan = scanner_.scan_quotes(text, block.size, separator_);
    } else {
      const void* last = ::memrchr(text, '\n', block.size);
      scan.records_end = last == nullptr ? 0 : static_cast<std::size_t>(static_cast<const char*>(last) - text) + 1;
    }
    if (scan.stray != nowhere) {
      FLYWHEEL_CHECK(cut_broken(block, scan.records_end, "quote"));
      return true;
    }
    if (scan.records_end > 0) {
      carry_.assign(text + scan.records_end, block.size - scan.records_end);
      block.size = scan.records_end;
      return true;
    }
    if (ended_) { // quotes that never close
      FLYWHEEL_CHECK(cut_broken(block, 0, "quote"));
      return true;
    }
    if (block.size > limits_.record_bytes_max) {
      FLYWHEEL_CHECK(cut_broken(block, 0, "row-size"));
      return true;
    }
    capacity = std::max(limits_.block_bytes, 2 * block.size);
  }
}

} // namespace flywheel
