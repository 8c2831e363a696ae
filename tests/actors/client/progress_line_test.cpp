#include "actors/client/progress_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace flywheel {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr terminal on_terminal{.is_terminal = true, .colour = false, .columns = 80};

TEST(progress_line, tells_the_time_left_by_the_pace_so_far) {
  struct row {
    std::uint64_t done, total;
    nanoseconds elapsed, left;
  };
  for (const auto& r : {row{10, 40, 20s, 60s}, row{40, 40, 20s, 0s}, row{50, 40, 20s, 0s}, row{1, 2, 3s, 3s}})
    EXPECT_EQ(time_left({"", r.done, r.total, r.elapsed}), r.left) << r.done << "/" << r.total;
  EXPECT_LT(time_left({"", 0, 40, 20s}).count(), 0) << "no pace yet";
  EXPECT_LT(time_left({"", 5, 0, 20s}).count(), 0) << "no end known";
  EXPECT_GT(time_left({"", 1, ~0ull, nanoseconds{1'000'000'000'000}}).count(), 0) << "does not overflow";
}

TEST(progress_line, shows_bar_words_and_time) {
  EXPECT_EQ(render_progress({"trial 12", 10, 40, 20s}, 80), "[=====>              ] 10/40  trial 12  1m00s left");
  EXPECT_EQ(render_progress({"trial 40", 40, 40, 20s}, 80), "[====================] 40/40  trial 40");
  EXPECT_EQ(render_progress({"reading", 0, 0, 0s}, 80), "reading");
}

TEST(progress_line, never_leaves_the_line) {
  for (std::size_t columns = 20; columns < 100; ++columns) {
    const auto line = render_progress({"東京 a very long description of what is going on\nover lines \x1b[2J", 7, 1000, 1s}, columns);
    EXPECT_LE(display_width(line), columns);
    EXPECT_EQ(line.find_first_of("\n\x1b"), std::string::npos);
  }
}

TEST(progress_line, draws_at_most_ten_times_a_second_and_takes_itself_away) {
  std::ostringstream out;
  {
    progress_line line(out, on_terminal);
    line.show({"one", 0, 0, 0s}, mono_time{0});
    line.show({"two", 0, 0, 0s}, mono_time{50'000'000});
    EXPECT_EQ(out.str(), "\rone\x1b[K");
    line.show({"three", 0, 0, 0s}, mono_time{100'000'000});
    EXPECT_THAT(out.str(), HasSubstr("\rthree\x1b[K"));
    out.str("");
    line.show({"three", 0, 0, 0s}, mono_time{300'000'000});
    EXPECT_EQ(out.str(), "") << "nothing new: nothing drawn";
    line.clear();
    line.clear();
    EXPECT_EQ(out.str(), "\r\x1b[K");
    line.show({"four", 0, 0, 0s}, mono_time{300'000'001});
    EXPECT_THAT(out.str(), HasSubstr("four")) << "after clear the next one is drawn at once";
    out.str("");
  }
  EXPECT_EQ(out.str(), "\r\x1b[K") << "the end leaves a clean line";
}

TEST(progress_line, a_pipe_gets_nothing) {
  std::ostringstream out;
  {
    progress_line line(out, terminal{.is_terminal = false, .colour = false, .columns = 80});
    line.show({"one", 1, 2, 1s}, mono_time{0});
  }
  EXPECT_EQ(out.str(), "");
}

} // namespace
} // namespace flywheel
