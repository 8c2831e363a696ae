// How fast a file comes to a node and goes back: encrypted (CURVE), in chunks, checked by SHA-256 and durable. Beside it a bare TCP copy of the
// same file over the same loopback, into a file that is synced: neither encrypted nor checked, what the machine allows; and that with a SHA-256
// of what arrived. All ends share the machine's cores.

#include "cluster/base/clock.hpp"
#include "cluster/content/file.hpp"
#include "cluster/transfer/content_cache.hpp"
#include "cluster/transfer/file_server.hpp"
#include "cluster/transfer/transfer_client.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <netinet/in.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace flywheel;
using namespace flywheel::transfer;
namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench_transfer: %s\n", what.c_str());
  std::exit(1);
}
template <class T> T must(result<T> r) {
  if (!r)
    fail(r.error().to_string());
  return std::move(*r);
}
void must(const status& s) {
  if (!s)
    fail(s.error().to_string());
}

double now() { return static_cast<double>(system_clock().mono().ns) / 1e9; }
double median(std::vector<double> xs) {
  std::sort(xs.begin(), xs.end());
  return xs[xs.size() / 2];
}

/// Seconds for a bare copy from `from` to `to`.
double raw_copy(const fs::path& from, const fs::path& to, bool check, const digest& right) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof at;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || ::listen(listener, 1) != 0 || ::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &length) != 0)
    fail("no port for the bare copy");
  const double begin = now();
  std::thread sender{[&] {
    const int s = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    const auto file = must(open_file(from, O_RDONLY));
    std::string buffer(1 << 20, '\0');
    for (;;) {
      const auto got = must(read_some(file.get(), buffer.data(), buffer.size(), from));
      if (got == 0)
        break;
      for (std::size_t sent = 0; sent < got;) {
        const auto n = ::send(s, buffer.data() + sent, got - sent, MSG_NOSIGNAL);
        if (n <= 0)
          fail("the bare copy broke");
        sent += static_cast<std::size_t>(n);
      }
    }
    ::close(s);
  }};
  const int s = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(s, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0)
    fail("no connection for the bare copy");
  {
    const auto file = must(open_file(to, O_WRONLY | O_CREAT | O_TRUNC));
    std::string buffer(1 << 20, '\0');
    for (ssize_t got = 0; (got = ::recv(s, buffer.data(), buffer.size(), 0)) > 0;)
      must(write_all(file.get(), std::string_view{buffer.data(), static_cast<std::size_t>(got)}, to));
    if (check && must(digest_of_file(to)) != right)
      fail("the bare copy is another file");
    must(sync_file(file.get(), to));
  }
  const double seconds = now() - begin;
  sender.join();
  ::close(s);
  ::close(listener);
  if (!check && must(digest_of_file(to)) != right)
    fail("the bare copy is another file");
  fs::remove(to);
  return seconds;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    fail("a folder is needed");
  const fs::path folder = argv[1];
  std::size_t megabytes = 256;
  int pairs = 5;
  for (int i = 2; i + 1 < argc; i += 2) {
    if (std::string{argv[i]} == "--megabytes")
      megabytes = std::strtoul(argv[i + 1], nullptr, 10);
    else if (std::string{argv[i]} == "--pairs")
      pairs = std::atoi(argv[i + 1]);
    else
      fail("usage: bench/run transfer [--megabytes 256] [--pairs 5]");
  }
  if (megabytes < 1 || pairs < 1)
    fail("--megabytes and --pairs are at least 1");
  fs::create_directories(folder / "head/job");
  const auto source = folder / "head/train.fwt";
  {
    const auto file = must(open_file(source, O_WRONLY | O_CREAT | O_TRUNC));
    std::string block(1 << 20, '\0');
    for (std::size_t m = 0; m < megabytes; ++m) {
      for (std::size_t i = 0; i < block.size(); ++i)
        block[i] = static_cast<char>((i * 2654435761u + m * 40503u) >> 15);
      must(write_all(file.get(), block, source));
    }
    must(sync_file(file.get(), source));
  }
  const auto book = std::make_shared<grant_book>();
  const auto keys = must(curve_keys::make());
  book->admit("n", keys.public_key());
  book->put(1, {"n", "t", {source}, folder / "head/job", {"s"}, {}});
  const auto server = must(file_server::start({"127.0.0.1", 0, {}, 0}, book));
  client_options o;
  o.endpoint = "tcp://127.0.0.1:" + std::to_string(server->port());
  o.server_key = server->public_key();
  const auto client = must(transfer_client::connect(o, keys, system_clock()));
  const auto what = must(client->list(1, 0, {})).files.at(0);

  std::vector<double> fetch, again, bring, raw, checked;
  for (int i = 0; i < pairs; ++i) {
    fs::remove_all(folder / "cache");
    const auto cache = must(content_cache::open(folder / "cache", ~std::uint64_t{0} / 2));
    const auto get = [&] { return must(cache->get(what.sha256, what.size, [&](int file) { return client->fetch(1, 0, what, file, {}); }, {})); };
    double begin = now();
    const auto path = get().path();
    fetch.push_back(now() - begin);
    raw.push_back(raw_copy(source, folder / "raw", false, what.sha256));
    begin = now();
    (void)get();
    again.push_back(now() - begin);
    checked.push_back(raw_copy(source, folder / "raw", true, what.sha256));
    const auto file = must(open_file(path, O_RDONLY));
    begin = now();
    must(client->bring(1, 1, {"step.h5", what.size, what.sha256}, file.get(), {}));
    bring.push_back(now() - begin);
    if (must(digest_of_file(folder / "head/job/s/step.h5")) != what.sha256)
      fail("what was brought is another file");
    must(client->remove(1, 1, "step.h5", {}));
  }
  const auto rate = [&](const std::vector<double>& seconds) { return static_cast<double>(what.size) / 1e6 / median(seconds); };
  std::printf("%zu MB, medians of %d pairs, MB/s: fetched %.0f, brought %.0f; bare TCP copy %.0f, with SHA-256 %.0f; found in the cache and checked in %.2f s\n\n", megabytes, pairs,
              rate(fetch), rate(bring), rate(raw), rate(checked), median(again));
  const auto figure = [&](const char* name, const std::vector<double>& ours, const char* peer, const std::vector<double>& theirs) {
    std::printf("{\"name\":\"%s\",\"value\":%.1f,\"unit\":\"MB/s\",\"peer\":\"%s\",\"peer_value\":%.1f,\"ratio\":%.3f}\n", name, rate(ours), peer, rate(theirs), rate(ours) / rate(theirs));
  };
  figure("transfer_fetch", fetch, "bare TCP copy", raw);
  figure("transfer_fetch_beside_checked", fetch, "bare TCP copy and SHA-256", checked);
  figure("transfer_bring", bring, "bare TCP copy", raw);
  return 0;
}
