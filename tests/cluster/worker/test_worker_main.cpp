// A worker for tests: the kind of its task says how it behaves. Modes that must not speak through serve_worker (raw bytes,
// no hello) are given as an argument.

#include "cluster/base/text.hpp"
#include "cluster/worker/worker_pool.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include <zmq.h>

using namespace flywheel;

namespace {

[[noreturn]] void wait_for_ever() {
  for (;;)
    pause();
}

std::string contents_of(const std::string& path) {
  std::ifstream file{path};
  if (!file)
    return std::string("cannot: ") + std::strerror(errno);
  return {std::istreambuf_iterator<char>{file}, {}};
}

result<std::string> misbehave(const wire::task& t, const worker_context& c) {
  const std::string& how = t.kind;
  if (how == "ok")
    return "{\"echo\":\"" + t.body + "\"}";
  if (how == "pid")
    return std::to_string(getpid());
  if (how == "fail")
    return error{errc::training_diverged, "loss is nan at step 7", {}, "lower the learning rate"};
  if (how == "report") {
    std::string verdicts;
    for (std::uint32_t rung = 0; rung < 3; ++rung) {
      const auto go_on = c.report(rung, 10 * (rung + 1), 0.5 + 0.125 * rung, 0.0625);
      if (!go_on)
        return go_on.error();
      verdicts += *go_on ? "+" : "-";
      if (!*go_on)
        break;
    }
    return verdicts;
  }
  if (how == "log") {
    c.log("info", "first\x01line");
    c.step(42);
    return std::string("logged");
  }
  if (how == "crash") {
    std::fprintf(stderr, "about to divide by zero\nthe last thing it said\n");
    std::signal(SIGSEGV, SIG_DFL); // a sanitizer would make an exit code of it
    std::raise(SIGSEGV);
  }
  if (how == "exit") {
    std::fprintf(stderr, "giving up\n");
    _exit(3);
  }
  if (how == "bad_alloc")
    throw std::bad_alloc{};
  if (how == "throw")
    throw std::runtime_error{"a library threw this"};
  if (how == "eat_memory") {
    // Touched page by page, past what the task may use; the watching node has to end it.
    for (std::size_t eaten = 0; eaten < (std::size_t{1} << 31); eaten += 1 << 20) {
      void* p = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p == MAP_FAILED)
        throw std::bad_alloc{};
      std::memset(p, 1, 1 << 20);
      if (eaten > (std::size_t{400} << 20))
        wait_for_ever();
    }
  }
  if (how == "allocate_at_once") {
    const auto much = std::make_unique_for_overwrite<char[]>(std::size_t{3} << 30);
    *const_cast<volatile char*>(much.get()) = 1; // kept from being optimised away
    return std::string("got it");
  }
  if (how == "hang")
    wait_for_ever();
  if (how == "obey_stop") {
    while (!*c.stop)
      usleep(1000);
    return error{errc::cancelled, "stopped as told"};
  }
  if (how == "child") { // leaves a process behind that would outlive it
    const int child = fork();
    if (child == 0)
      wait_for_ever();
    return std::to_string(child);
  }
  if (how == "read")
    return contents_of(t.body);
  if (how == "write") {
    const int fd = open(t.body.c_str(), O_CREAT | O_WRONLY, 0600);
    return fd < 0 ? std::string("cannot: ") + std::strerror(errno) : "written";
  }
  if (how == "environment")
    return contents_of("/proc/self/environ").find("SECRET") == std::string::npos && !std::getenv("FLYWHEEL_WORKER_TOKEN")
               ? std::string("clean")
               : "leaks";
  if (how == "kill_node")
    return kill(getppid(), 0) == 0 ? "may" : std::string("cannot: ") + std::strerror(errno);
  return error{errc::unsupported, "no such kind: " + how};
}

/// Speaks raw ZeroMQ instead of the protocol.
int speak_badly(const std::string& how) {
  if (how == "mute")
    wait_for_ever();
  if (how == "quit")
    return 9;
  void* context = zmq_ctx_new();
  void* socket = zmq_socket(context, ZMQ_DEALER);
  zmq_connect(socket, ("ipc://" + std::string(std::getenv("FLYWHEEL_WORKER_SOCKET"))).c_str());
  const auto send = [&](const std::string& bytes, int flags = 0) { zmq_send(socket, bytes.data(), bytes.size(), flags); };
  const auto say = [&](const wire::message& m) { send(wire::encode(m)); };
  const auto hello = [&] {
    say(wire::hello{1, std::getenv("FLYWHEEL_WORKER_ID"), std::getenv("FLYWHEEL_WORKER_TOKEN"), 1});
    char buffer[4096];
    zmq_recv(socket, buffer, sizeof buffer, 0); // welcome
    zmq_recv(socket, buffer, sizeof buffer, 0); // task
  };
  if (how == "noise_before_hello") {
    send("\xc1\xc1\xc1 not a message");
  } else if (how == "wrong_token") {
    say(wire::hello{1, std::getenv("FLYWHEEL_WORKER_ID"), "0123456789abcdef0123456789abcdef", 1});
  } else if (how == "other_version") {
    say(wire::hello{2, std::getenv("FLYWHEEL_WORKER_ID"), std::getenv("FLYWHEEL_WORKER_TOKEN"), 1});
  } else if (how == "noise") {
    hello();
    send(std::string("\x81\xa4type\xdb\xff\xff\xff\xff", 11));
  } else if (how == "parts") {
    hello();
    send("one", ZMQ_SNDMORE);
    send("two");
  } else if (how == "done_of_another") {
    hello();
    say(wire::done{"another-task", 1, "{}"});
  } else if (how == "wrong_attempt") {
    hello();
    say(wire::done{"t", 7, "{}"});
  } else if (how == "plays_node") {
    hello();
    say(wire::stop{"", "now I am the node"});
  } else if (how == "too_large") {
    hello();
    send(std::string(9 << 20, 'x'));
  } else if (how == "done_and_exit") {
    hello();
    say(wire::done{"t", 1, "last words"});
    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
  } else if (how == "silent_after_hello") {
    hello();
  }
  wait_for_ever();
}

/// A node that somebody will kill: tells its worker's process and waits.
int be_a_node(const std::string& socket) {
  worker_pool_options o;
  o.socket = socket;
  o.command = {"/proc/self/exe"};
  worker_pool_events e;
  e.started = [](const std::string&, int pid) {
    std::printf("%d\n", pid);
    std::fflush(stdout);
  };
  const auto pool = worker_pool::start(o, e, system_clock());
  if (!pool)
    return 1;
  worker_task t;
  t.task = {"t", 1, "hang", ""};
  (*pool)->submit(t);
  wait_for_ever();
}

} // namespace

int main(int argc, char** argv) {
  if (argc > 2)
    return be_a_node(argv[2]);
  if (argc > 1)
    return speak_badly(argv[1]);
  return serve_worker({}, misbehave);
}
