#include "actors/data_steward/structure_scan.hpp"

#include "cluster/base/random.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

using namespace flywheel;

namespace {

/// Text with the padding that the scanners ask for, filled with what would hurt most if it were read as text.
struct padded {
  explicit padded(std::string_view text) : bytes(std::string(scan_padding, '"') + std::string{text} + std::string(scan_padding, '"')), size(text.size()) {}
  const char* text() const { return bytes.data() + scan_padding; }
  std::string bytes;
  std::size_t size;
};

quote_scan scan(const structure_scanner& s, std::string_view text) {
  const padded p(text);
  return s.scan_quotes(p.text(), p.size, ',');
}

std::pair<separator_index, std::vector<std::uint32_t>> index(const structure_scanner& s, std::string_view text) {
  const padded p(text);
  std::vector<std::uint32_t> out(p.size + 64);
  const auto i = s.index(p.text(), p.size, ',', out.data());
  out.resize(i.count);
  return {i, out};
}

} // namespace

TEST(structure_scan, tells_whole_records_open_quotes_and_stray_ones) {
  for (const auto* s : {&plain_scanner(), &best_scanner()}) {
    SCOPED_TRACE(s->name);
    EXPECT_EQ(scan(*s, "a,b\nc"), (quote_scan{4, nowhere, false}));
    EXPECT_EQ(scan(*s, "a,\"b\nc"), (quote_scan{0, nowhere, true}));
    EXPECT_EQ(scan(*s, "1\na,\"b\"\"\n\"\n"), (quote_scan{11, nowhere, false}));
    EXPECT_EQ(scan(*s, "1\na,b\"c\n"), (quote_scan{2, 5, false}));     // a quote inside an unquoted cell
    EXPECT_EQ(scan(*s, "1\na,\"b\"c\n"), (quote_scan{2, 7, false}));   // something after a closing quote
    EXPECT_EQ(scan(*s, "\"a\"\r\n"), (quote_scan{5, nowhere, false}));
    EXPECT_EQ(scan(*s, "\"a\"\rb\n"), (quote_scan{0, 4, false}));
    EXPECT_EQ(scan(*s, "\"\"\n"), (quote_scan{3, nowhere, false}));
    EXPECT_EQ(scan(*s, ""), quote_scan{});
  }
}

TEST(structure_scan, indexes_separators_outside_quotes_only) {
  for (const auto* s : {&plain_scanner(), &best_scanner()}) {
    SCOPED_TRACE(s->name);
    const auto [i, at] = index(*s, "a,\"b,\n\",c\nd\n");
    EXPECT_EQ(at, (std::vector<std::uint32_t>{1, 7, 9, 11}));
    EXPECT_EQ(i.records, 2u);
    EXPECT_EQ(i.lines, 3u);
    EXPECT_FALSE(i.non_ascii || i.nul);
    EXPECT_TRUE(index(*s, "\xc3\xa4\n").first.non_ascii);
    EXPECT_TRUE(index(*s, std::string_view{"a\0b\n", 4}).first.nul);
  }
}

TEST(structure_scan, wide_and_plain_agree_on_every_text) {
  const auto& wide = best_scanner();
  if (wide.name == plain_scanner().name)
    GTEST_SKIP() << "this CPU has only the plain scanner";
  random_source random(11);
  const std::string_view letters = "ab,,\n\"\"\r\xc3";
  for (int round = 0; round < 20'000; ++round) {
    // Long quiet stretches, so that the shortcuts for chunks without quotes are taken too.
    std::string text;
    const auto pieces = random.below(12);
    for (std::uint64_t i = 0; i < pieces; ++i)
      if (random.below(3) == 0)
        text.append(random.below(150), random.below(8) == 0 ? ',' : 'x');
      else
        for (auto n = random.below(20); n > 0; --n)
          text += letters[static_cast<std::size_t>(random.below(letters.size()))];
    ASSERT_EQ(scan(wide, text), scan(plain_scanner(), text)) << "round " << round << ": " << text;
    ASSERT_EQ(index(wide, text), index(plain_scanner(), text)) << "round " << round << ": " << text;
  }
}
