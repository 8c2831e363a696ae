// The journal's two promises in numbers: appends that are on the disk, and a million events verified.
// Peers: a bare write+fdatasync loop with the same batch size (what the disk allows), and SHA-256 alone over the same
// bytes (what the processor allows).

#include "cluster/base/clock.hpp"
#include "cluster/journal/chain_format.hpp"
#include "cluster/journal/journal.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace flywheel;
namespace fs = std::filesystem;

namespace {

struct settings {
  fs::path folder;
  double seconds = 1;
  int pairs = 5;
  int events = 1'000'000;
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench_journal: %s\n", what.c_str());
  std::exit(1);
}

template <class T> T must(result<T> r) {
  if (!r)
    fail(r.error().to_string());
  return std::move(*r);
}

double now() { return static_cast<double>(system_clock().mono().ns) / 1e9; }

double quantile(std::vector<double> xs, double q) {
  std::sort(xs.begin(), xs.end());
  return xs.empty() ? 0 : xs[std::min(xs.size() - 1, static_cast<std::size_t>(q * static_cast<double>(xs.size())))];
}
double median(const std::vector<double>& xs) { return quantile(xs, 0.5); }

/// A typical entry: one trial's report, about 350 bytes with all its fields.
event_draft draft(int caller, int i) {
  event_draft d;
  d.kind = event_kind::trial_report;
  d.goal = "g-01hf7zk3q8-4fj2x9a1";
  d.step = "search";
  d.subject = "t-01hf7zk3q8-" + std::to_string(caller) + "-" + std::to_string(i / 20);
  d.actor = "hpo";
  d.text = "trial reports validation accuracy 0.9541 after 12 of 40 rounds, above the median of its rung";
  d.body = R"({"caller":)" + std::to_string(caller) + R"(,"i":)" + std::to_string(i) +
           R"(,"rung":2,"resource":12,"value":0.9541,"standard_error":0.0031,"go_on":true,"best":0.9587})";
  d.epoch = 3;
  return d;
}

struct run_figures {
  double per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
  double batch = 0;
};

/// All events are there, each caller's own in its order, and the chain fits.
void check(const fs::path& folder, const std::vector<int>& appended) {
  const auto verdict = must(verify_journal(folder));
  if (!verdict.intact)
    fail("the journal is not intact: " + verdict.reason);
  std::vector<int> seen(appended.size());
  const auto reader = must(journal_reader::open(folder));
  const auto read = reader.read(journal_filter{}, [&](const event& e) {
    const auto caller = static_cast<std::size_t>(std::atoi(e.body.c_str() + std::strlen(R"({"caller":)")));
    if (caller >= seen.size() || e.body != draft(static_cast<int>(caller), seen[caller]).body)
      fail("entry " + std::to_string(e.seq) + " is not what was appended");
    ++seen[caller];
    return true;
  });
  if (!read)
    fail(read.error().to_string());
  if (seen != appended)
    fail("acknowledged entries are missing");
}

run_figures ours(const settings& s, int callers) {
  const auto folder = s.folder / "ours";
  fs::create_directory(folder);
  std::vector<int> appended(static_cast<std::size_t>(callers));
  std::vector<std::vector<double>> latencies(static_cast<std::size_t>(callers));
  std::atomic<bool> stop{false};
  int commits = 0;
  run_figures f;
  {
    const auto j = must(journal::open(folder, system_clock()));
    j->listen([&](const std::vector<event>&) { ++commits; });
    const double start = now();
    std::vector<std::thread> threads;
    for (int c = 0; c < callers; ++c)
      threads.emplace_back([&, c] {
        const auto mine = static_cast<std::size_t>(c);
        for (int i = 0; !stop; ++i) {
          const double t0 = now();
          (void)must(j->append(draft(c, i)));
          latencies[mine].push_back(1e6 * (now() - t0));
          appended[mine] = i + 1;
        }
      });
    std::this_thread::sleep_for(std::chrono::duration<double>(s.seconds));
    stop = true;
    for (auto& t : threads)
      t.join();
    const double elapsed = now() - start;
    std::vector<double> all;
    for (const auto& l : latencies)
      all.insert(all.end(), l.begin(), l.end());
    f.per_second = static_cast<double>(all.size()) / elapsed;
    f.p50_us = quantile(all, 0.5);
    f.p99_us = quantile(all, 0.99);
    f.batch = static_cast<double>(all.size()) / commits;
  }
  check(folder, appended);
  fs::remove_all(folder);
  return f;
}

/// What the disk allows: the same bytes per event, `batch` events per write, each made durable.
double raw(const settings& s, std::size_t batch) {
  const auto path = s.folder / "raw";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const auto d = draft(1, 1000);
  const std::string one(d.goal.size() + d.step.size() + d.subject.size() + d.actor.size() + d.text.size() +
                            d.body.size() + 32 + 8 * 4, 'x');
  std::string bytes;
  for (std::size_t i = 0; i < batch; ++i)
    bytes += one;
  const double start = now();
  std::size_t events = 0;
  while (now() - start < s.seconds) {
    if (::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) || ::fdatasync(fd) != 0)
      fail("the raw loop cannot write");
    events += batch;
  }
  const double elapsed = now() - start;
  if (::lseek(fd, 0, SEEK_END) != static_cast<off_t>(events * one.size()))
    fail("the raw loop lost bytes");
  ::close(fd);
  fs::remove(path);
  return static_cast<double>(events) / elapsed;
}

void figure(const char* name, double value, const char* unit, const char* peer, double peer_value) {
  std::printf(R"({"name":"%s","value":%.6g,"unit":"%s","peer":"%s","peer_value":%.6g,"ratio":%.4g})"
              "\n", name, value, unit, peer, peer_value, peer_value > 0 ? value / peer_value : 0);
}

struct append_medians {
  int callers;
  double ours, p50, p99, batch, raw_batch, raw_single;
};

append_medians appends(const settings& s, int callers) {
  std::vector<double> a;
  std::vector<double> p50;
  std::vector<double> p99;
  std::vector<double> batch;
  std::vector<double> same_batch;
  std::vector<double> single;
  for (int i = 0; i < s.pairs; ++i) {
    const auto f = ours(s, callers);
    a.push_back(f.per_second);
    p50.push_back(f.p50_us);
    p99.push_back(f.p99_us);
    batch.push_back(f.batch);
    same_batch.push_back(raw(s, std::max<std::size_t>(1, static_cast<std::size_t>(f.batch + 0.5))));
    single.push_back(raw(s, 1));
  }
  return {callers, median(a), median(p50), median(p99), median(batch), median(same_batch), median(single)};
}

struct verify_medians {
  double ours, hashing, open, fill;
  std::uint64_t bytes;
};

verify_medians verification(const settings& s) {
  const auto folder = s.folder / "many";
  fs::create_directory(folder);
  verify_medians m{};
  const double start = now();
  {
    const auto j = must(journal::open(folder, system_clock()));
    constexpr int per_call = 100;
    for (int i = 0; i < s.events; i += per_call) {
      std::vector<event_draft> drafts;
      for (int k = i; k < std::min(s.events, i + per_call); ++k)
        drafts.push_back(draft(0, k));
      j->append_async(std::move(drafts), [](result<std::uint64_t> seq) { (void)must(std::move(seq)); });
    }
  }
  m.fill = now() - start;

  // The bytes that the chain covers, to hash them again without anything else.
  std::vector<event> events;
  events.reserve(static_cast<std::size_t>(s.events));
  {
    const auto reader = must(journal_reader::open(folder));
    const auto read = reader.read(journal_filter{}, [&](const event& e) {
      events.push_back(e);
      return true;
    });
    if (!read || events.size() != static_cast<std::size_t>(s.events))
      fail("not all events could be read back");
  }
  std::vector<double> a;
  std::vector<double> b;
  std::vector<double> o;
  for (int i = 0; i < s.pairs; ++i) {
    const double t0 = now();
    const auto verdict = must(verify_journal(folder));
    const double t1 = now();
    if (!verdict.intact || verdict.events != static_cast<std::uint64_t>(s.events))
      fail("the journal is not intact: " + verdict.reason);
    chain_hasher hasher;
    digest previous;
    std::uint64_t bytes = 0;
    for (const auto& e : events) {
      const auto entry = chain_entry_of(e);
      previous = hasher.hash(previous, entry);
      bytes += 32 + 24 + 4 * chain_texts;
      for (const auto text : entry.texts)
        bytes += text.size();
    }
    const double t2 = now();
    if (previous != verdict.head)
      fail("hashing alone came to another head");
    { const auto j = must(journal::open(folder, system_clock())); }
    const double t3 = now();
    a.push_back(t1 - t0);
    b.push_back(t2 - t1);
    o.push_back(t3 - t2);
    m.bytes = bytes;
  }
  m.ours = median(a);
  m.hashing = median(b);
  m.open = median(o);
  fs::remove_all(folder);
  return m;
}

settings parse(int argc, char** argv) {
  settings s;
  if (argc < 2)
    fail("usage: bench_journal FOLDER [--seconds S] [--pairs N] [--events N]");
  s.folder = argv[1];
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const double value = std::atof(argv[i + 1]);
    if (name == "--seconds")
      s.seconds = value;
    else if (name == "--pairs")
      s.pairs = static_cast<int>(value);
    else if (name == "--events")
      s.events = static_cast<int>(value);
    else
      fail("unknown option " + name);
  }
  return s;
}

} // namespace

int main(int argc, char** argv) {
  const auto s = parse(argc, argv);
  std::printf("medians of %d pairs, %.2g s each; every journal read back and verified\n", s.pairs, s.seconds);
  std::printf("%8s %12s %10s %10s %10s %18s %18s %8s\n", "callers", "events/s", "p50 us", "p99 us", "batch",
              "raw same batch/s", "raw 1 per sync/s", "ratio");
  std::vector<append_medians> rows;
  for (const int callers : {1, 8, 64}) {
    const auto& r = rows.emplace_back(appends(s, callers));
    std::printf("%8d %12.0f %10.0f %10.0f %10.1f %18.0f %18.0f %8.2f\n", r.callers, r.ours, r.p50, r.p99, r.batch,
                r.raw_batch, r.raw_single, r.ours / r.raw_batch);
  }
  const auto v = verification(s);
  std::printf("\n%d events: written in %.2f s, verified in %.2f s; SHA-256 alone over their %.0f MB: %.2f s; open: %.3f s\n\n",
              s.events, v.fill, v.ours, static_cast<double>(v.bytes) / 1e6, v.hashing, v.open);
  for (const auto& r : rows) {
    const auto name = "journal_append_" + std::to_string(r.callers);
    figure((name + "_callers").c_str(), r.ours, "events/s", "write+fdatasync, same batch", r.raw_batch);
    figure((name + "_callers_p99").c_str(), r.p99, "us", "write+fdatasync, one event", 1e6 / r.raw_single);
  }
  figure("journal_append_64_callers_beside_single", rows.back().ours, "events/s", "write+fdatasync, one event",
         rows.back().raw_single);
  figure("journal_verify", v.ours, "s per run", "SHA-256 alone", v.hashing);
  figure("journal_open", v.open, "s", "verify", v.ours);
}
