// A rank that does what it is told, and the keeper of ranks. Each argument is "[aN.][rN:]verb[=value]": done only in attempt N, only by
// rank N.

#include "cluster/gang/rank_board.hpp"
#include "cluster/gang/rank_keeper.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace flywheel;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Left behind by a middle process, in a session of its own: only a subreaper finds it.
void leave_grandchild(const std::string& pid_file) {
  int ready[2];
  if (::pipe(ready) != 0)
    std::exit(91);
  if (::fork() == 0) {
    ::setsid();
    if (::fork() == 0) {
      ::signal(SIGTERM, SIG_IGN);
      ::signal(SIGHUP, SIG_IGN);
      std::ofstream(pid_file) << ::getpid() << std::flush;
      (void)!::write(ready[1], "x", 1);
      while (true)
        ::pause();
    }
    ::_exit(0);
  }
  char byte = 0;
  (void)!::read(ready[0], &byte, 1);
  ::wait(nullptr);
}

std::vector<volatile char*> hoard;

void do_one(rank_reporter& board, std::uint64_t& step, const std::string& verb, const std::string& value) {
  const int number = std::atoi(value.c_str());
  if (verb == "steps") // each about a millisecond
    for (int i = 0; i < number; ++i, ++step) {
      board.working(step);
      ::poll(nullptr, 0, 1);
      board.collective(step * 2 + 1, "all_reduce");
      board.waiting(step);
      board.finished(step, 1.0 / static_cast<double>(step + 1));
    }
  else if (verb == "exit")
    std::_Exit(number);
  else if (verb == "raise")
    ::raise(number);
  else if (verb == "hang")
    while (true)
      ::pause();
  else if (verb == "wait") // milliseconds
    ::poll(nullptr, 0, number);
  else if (verb == "until") // the test makes the file
    while (::access(value.c_str(), F_OK) != 0)
      ::poll(nullptr, 0, 5);
  else if (verb == "grandchild")
    leave_grandchild(value);
  else if (verb == "say")
    std::printf("%s\n", value.c_str()), std::fflush(stdout);
  else if (verb == "complain")
    std::fprintf(stderr, "%s\n", value.c_str());
  else if (verb == "env")
    std::printf("%s=%s\n", value.c_str(), variable(value.c_str()).c_str()), std::fflush(stdout);
  else if (verb == "ignore")
    ::signal(number, SIG_IGN);
  else if (verb == "peer")
    board.failed(rank_fault::peer, number, "rank " + value + " is lost");
  else if (verb == "own")
    board.failed(rank_fault::own, -1, value);
  else if (verb == "touch")
    std::ofstream(value + "." + variable("RANK")) << ::getpid() << std::flush;
  else if (verb == "hog") // MiB, one at a time
    for (int i = 0; i < number; ++i) {
      auto* block = static_cast<volatile char*>(std::malloc(1 << 20));
      if (block == nullptr)
        std::fprintf(stderr, "std::bad_alloc\n"), std::abort();
      for (int at = 0; at < 1 << 20; at += 4096)
        block[at] = 1;
      hoard.push_back(block);
    }
  else if (verb == "garble") { // everything a rank can overwrite, with everything
    const int fd = ::open(variable(rank_board_variable).c_str(), O_RDWR);
    auto* page = static_cast<unsigned char*>(::mmap(nullptr, rank_board_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    std::memset(page, number, rank_board_bytes);
    if (::ftruncate(fd, 0) == 0)
      std::exit(92); // the launcher would get SIGBUS
  } else
    std::fprintf(stderr, "unknown verb '%s'\n", verb.c_str()), std::exit(90);
}

} // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "_keep") == 0)
    return keep_ranks(0, argv[2]);
  auto board = rank_reporter::from_environment();
  if (!board)
    return std::fprintf(stderr, "%s\n", board.error().to_string().c_str()), 93;
  std::uint64_t step = 0;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    bool is_mine = true;
    if (word.size() > 2 && word[0] == 'a' && word.find('.') != std::string::npos && word.find('.') < word.find('=')) {
      is_mine = word.substr(1, word.find('.') - 1) == variable("FLYWHEEL_ATTEMPT");
      word = word.substr(word.find('.') + 1);
    }
    if (word.size() > 2 && word[0] == 'r' && word.find(':') < word.find('=')) {
      is_mine = is_mine && word.substr(1, word.find(':') - 1) == variable("RANK");
      word = word.substr(word.find(':') + 1);
    }
    const auto equals = word.find('=');
    if (is_mine)
      do_one(*board, step, word.substr(0, equals), equals == std::string::npos ? "" : word.substr(equals + 1));
  }
  board->done();
  return 0;
}
