#include "tests/simulation/fibers.hpp"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack_save, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack_save, const void** bottom_old, std::size_t* size_old);
}
#endif
extern "C" void* __cxa_get_globals();

namespace flywheel::simulation {
namespace {

constexpr std::size_t stack_bytes = 4u << 20; // reserved; touched as it is used

/// Exceptions being handled belong to a thread; here, to a fiber.
struct exceptions {
  void* caught = nullptr;
  unsigned uncaught = 0;
};
void swap_exceptions(exceptions& with) { std::swap(*static_cast<exceptions*>(__cxa_get_globals()), with); }

} // namespace

struct fiber::machinery {
  ucontext_t context{};
  void* stack = nullptr;
  std::function<void()> work;
  exceptions handled;
  void* fake_stack = nullptr;
  bool done = false;
};

namespace {

/// Whoever resumes fibers.
struct outside {
  ucontext_t context{};
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  std::size_t size = 0;
};
outside out;
fiber* running = nullptr;

void lay_out(ucontext_t& context, void* stack, void (*live)()) {
  if (stack == MAP_FAILED || ::getcontext(&context) != 0) {
    std::perror("a fiber's stack");
    std::abort();
  }
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = stack_bytes;
  context.uc_link = nullptr;
  ::makecontext(&context, live, 0);
}

/// Finished fibers keep their stack and their loop for the next piece of work.
std::vector<std::unique_ptr<fiber>>& idle() {
  static std::vector<std::unique_ptr<fiber>> all;
  return all;
}

} // namespace

/// What a fiber does all its life.
void fiber::live() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &out.bottom, &out.size);
#endif
  for (;;) {
    auto& mine = *running->machinery_;
    std::exchange(mine.work, nullptr)();
    mine.done = true;
    fiber::wait({});
  }
}

std::unique_ptr<fiber> fiber::start(std::function<void()> work) {
  std::unique_ptr<fiber> f;
  if (idle().empty()) {
    f.reset(new fiber);
    f->machinery_ = std::make_unique<machinery>();
    auto& m = *f->machinery_;
    m.stack = ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    lay_out(m.context, m.stack, &fiber::live);
  } else {
    f = std::move(idle().back());
    idle().pop_back();
  }
  f->machinery_->work = std::move(work);
  f->machinery_->done = false;
  return resume(std::move(f));
}

std::unique_ptr<fiber> fiber::resume(std::unique_ptr<fiber> f) {
  f->run();
  if (!f->machinery_->done)
    return f;
  idle().push_back(std::move(f));
  return nullptr;
}

void fiber::run() {
  auto& m = *machinery_;
  running = this;
  swap_exceptions(m.handled);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&out.fake_stack, m.stack, stack_bytes);
#endif
  ::swapcontext(&out.context, &m.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(out.fake_stack, nullptr, nullptr);
#endif
  swap_exceptions(m.handled);
  running = nullptr;
}

void fiber::wait(std::function<bool()> ready) {
  if (running == nullptr) {
    std::fprintf(stderr, "simulation: something outside all fibers waits\n");
    std::abort();
  }
  auto* const me = running;
  me->ready_ = std::move(ready);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&me->machinery_->fake_stack, out.bottom, out.size);
#endif
  ::swapcontext(&me->machinery_->context, &out.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(me->machinery_->fake_stack, &out.bottom, &out.size);
#endif
}

fiber::~fiber() { ::munmap(machinery_->stack, stack_bytes); }

} // namespace flywheel::simulation
