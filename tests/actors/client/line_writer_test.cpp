#include "actors/client/line_writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace flywheel {
namespace {

struct pipe_of_test {
  std::array<int, 2> ends{};
  pipe_of_test() { EXPECT_EQ(::pipe(ends.data()), 0); }
  ~pipe_of_test() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  std::string read_all() const {
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    std::string text;
    std::array<char, 65536> buffer;
    for (ssize_t n = 0; (n = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
      text.append(buffer.data(), static_cast<std::size_t>(n));
    return text;
  }
};

TEST(line_writer, writes_all_lines_in_order_before_it_ends) {
  const pipe_of_test p;
  {
    line_writer w;
    for (int i = 0; i < 1000; ++i)
      w.write(p.ends[1], std::to_string(i));
  }
  std::string expected;
  for (int i = 0; i < 1000; ++i)
    expected += std::to_string(i) + "\n";
  EXPECT_EQ(p.read_all(), expected);
}

TEST(line_writer, a_reader_that_stands_still_holds_nobody_up_and_is_told_what_it_missed) {
  const pipe_of_test p;
  auto w = std::make_unique<line_writer>(100'000);
  const std::string line(999, 'x');
  for (int i = 0; i < 1000; ++i) // a pipe holds 64 KiB: this would block for ever
    w->write(p.ends[1], line);
  w->write(p.ends[1], "important", true);
  std::string text;
  std::array<char, 4096> buffer;
  while (text.find("important\n") == std::string::npos) {
    const auto n = ::read(p.ends[0], buffer.data(), buffer.size());
    ASSERT_GT(n, 0);
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  w.reset();
  EXPECT_THAT(text, testing::ContainsRegex("[(][0-9]+ lines of output were dropped: they were not read in time[)]\nimportant\n"));
}

TEST(line_writer, a_reader_that_is_gone_ends_nothing) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  ::close(ends[0]);
  {
    line_writer w;
    w.write(ends[1], "to nobody");
  }
  ::close(ends[1]);
}

} // namespace
} // namespace flywheel
