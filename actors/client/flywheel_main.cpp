// flywheel: the one program. Everything it can do is a command (command_table.cpp).

#include "actors/client/commands.hpp"

#include <iostream>

int main(int argc, char** argv) {
  using namespace flywheel;
  const auto line = parse_command_line({argv + 1, argv + argc});
  if (!line) {
    print_error(std::cerr, line.error(), terminal_of(2, false).colour);
    return exit_code_of(line.error().code);
  }
  return execute(*line);
}
