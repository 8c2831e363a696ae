#include "actors/remote_agents/remote_log_actor.hpp"

#include "actors/protocol/log_format.hpp"
#include "actors/protocol/own_thread.hpp"
#include "cluster/base/json.hpp"

namespace flywheel {

using nlohmann::json;

namespace {

constexpr std::chrono::seconds answer_within{60};

/// As what an agent is: its messages carry its placement.
struct writer {
  caf::actor_system* system;
  agent_host_agent host;
  std::string agent;
  std::uint64_t placement;

  result<json> ask(const char* kind, const json& fields) const {
    agent_message m{agent, placement, journal_address, kind, {}};
    json::to_msgpack(fields, m.fields);
    const auto answer = ask_and_wait<gate_answer>(*system, host, answer_within, m, [&](const caf::error& e) {
      gate_answer none;
      none.problem = error{errc::unreachable, "the journal did not answer: " + cafx::render(e), agent, "ask again"};
      return none;
    });
    if (answer.problem)
      return answer.problem.to_error();
    auto body = json::from_msgpack(answer.body, true, false);
    if (!body.is_object())
      return error{errc::protocol_violation, "the journal's answer cannot be read"};
    return body;
  }
  result<std::uint64_t> append(const std::vector<event_draft>& drafts) const {
    FLYWHEEL_TRY(const auto answer, ask(append_kind, {{"drafts", log_format::to_json(drafts)}}));
    if (!answer.contains("seq") || !answer["seq"].is_number_unsigned())
      return error{errc::protocol_violation, "the journal's answer has no 'seq'"};
    return answer["seq"].get<std::uint64_t>();
  }
};

} // namespace

result<std::uint64_t> remote_log::append(std::vector<event_draft> drafts) { return writer{system_, host_, agent_, placement_}.append(drafts); }

void remote_log::append_async(std::vector<event_draft> drafts, std::function<void(result<std::uint64_t>)> done) {
  spawn_on_own_thread(*system_, [w = writer{system_, host_, agent_, placement_}, drafts = std::move(drafts), done = std::move(done)](caf::event_based_actor* me) {
    done(w.append(drafts));
    me->quit();
  });
}

result<std::vector<event>> remote_log::read(const journal_filter& filter) const {
  const writer w{system_, host_, agent_, placement_};
  std::vector<event> all;
  auto f = filter;
  for (;;) { // a page at a time
    FLYWHEEL_TRY(const auto answer, w.ask(read_kind, {{"filter", log_format::to_json(f)}}));
    FLYWHEEL_TRY(auto page, log_format::events_from(answer.value("events", json{})));
    const bool more = answer.value("more", json{}) == true && !page.empty();
    if (!page.empty())
      f.after_seq = page.back().seq;
    if (f.limit != 0)
      f.limit -= std::min<std::uint64_t>(f.limit, page.size());
    std::move(page.begin(), page.end(), std::back_inserter(all));
    if (!more || (filter.limit != 0 && f.limit == 0))
      return all;
  }
}

std::uint64_t remote_log::last_seq() const noexcept {
  try {
    journal_filter newest;
    newest.limit = 1;
    newest.newest_first = true;
    const auto found = read(newest);
    return found && !found->empty() ? found->front().seq : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

} // namespace flywheel
