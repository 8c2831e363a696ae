#include "cluster/chaos/promise_judge.hpp"

#include "cluster/base/json.hpp"
#include "cluster/base/text.hpp"

#include <algorithm>
#include <set>

namespace flywheel {
namespace {

using nlohmann::json;
using finding = promise_verdict::finding;

constexpr std::size_t evidence_max = 20;
using trial_key = std::pair<std::string, std::string>; ///< goal, trial

/// An entry with its body read once.
struct entry {
  const event& e;
  json body;
};
std::string at(const event& e) { return "[" + std::to_string(e.seq) + "] "; }
std::string text_of(const json& j, const char* key) {
  const auto i = j.find(key);
  return i != j.end() && i->is_string() ? i->get<std::string>() : std::string{};
}
std::uint64_t number_of(const json& j, const char* key) {
  const auto i = j.find(key);
  return i != j.end() && i->is_number_unsigned() ? i->get<std::uint64_t>() : 0;
}
double real_of(const json& j, const char* key) {
  const auto i = j.find(key);
  return i != j.end() && i->is_number() ? i->get<double>() : 0;
}
bool is_terminal(std::string_view state) { return state == "completed" || state == "pruned" || state == "failed"; }

/// Gathers what breaks one promise.
class judgement {
public:
  judgement(const char* promise, const char* title) { v_.promise = promise, v_.title = title; }
  void broken(std::string what) {
    v_.found = finding::broken;
    if (v_.evidence.size() < evidence_max)
      v_.evidence.push_back(std::move(what));
    else
      ++left_out_;
  }
  /// The verdict, if nothing broke it.
  promise_verdict kept(std::string counted) && {
    if (v_.found == finding::broken) {
      if (left_out_ > 0)
        v_.evidence.push_back("and " + std::to_string(left_out_) + " more");
      v_.reason = v_.evidence.front();
      return std::move(v_);
    }
    v_.found = finding::kept;
    v_.reason = std::move(counted);
    return std::move(v_);
  }
  promise_verdict not_judged(std::string why) && {
    if (v_.found == finding::broken)
      return std::move(*this).kept({});
    v_.reason = std::move(why);
    return std::move(v_);
  }

private:
  promise_verdict v_;
  std::size_t left_out_ = 0;
};

std::string count_of(std::size_t n, std::string_view thing) { return std::to_string(n) + " " + std::string{thing} + (n == 1 ? "" : "s"); }

class history {
public:
  explicit history(const promise_evidence& evidence) : ev_(evidence) {
    for (const auto& e : evidence.events) {
      json body = json::parse(e.body, nullptr, false);
      entries_.push_back({e, body.is_object() ? std::move(body) : json::object()});
    }
  }

  std::vector<promise_verdict> judge() const {
    return {acknowledged(), one_id_one_goal(), at_most_once(), intent_first(), no_older_epoch(), one_writer(), approved(), scopes(),
            within_budget(), checksums(), nothing_left(), goals_end(), same_again(), secrets(), trials_counted()};
  }

private:
  promise_verdict acknowledged() const {
    judgement j{"I1", "no acknowledged goal is lost"};
    std::map<std::string, std::uint64_t> submitted;
    for (const auto& [e, body] : entries_)
      if (e.kind == event_kind::goal_submitted)
        submitted.emplace(e.goal, e.seq);
    for (const auto& a : ev_.acknowledged)
      if (const auto i = submitted.find(a.id); i == submitted.end())
        j.broken("goal " + a.id + " was acknowledged and is not in the journal");
      else if (i->second > a.seq)
        j.broken(at_seq(i->second) + "goal " + a.id + " was acknowledged at " + std::to_string(a.seq) + ", before it was written down");
    if (ev_.acknowledged.empty())
      return std::move(j).not_judged("no goal was submitted meanwhile; give the file a 'load'");
    return std::move(j).kept(count_of(ev_.acknowledged.size(), "acknowledged goal") + ", all in the journal");
  }

  promise_verdict one_id_one_goal() const {
    judgement j{"I2", "one client id is one goal"};
    std::map<std::string, std::uint64_t> first;
    for (const auto& [e, body] : entries_)
      if (e.kind == event_kind::goal_submitted)
        if (const auto [i, is_new] = first.emplace(e.goal, e.seq); !is_new)
          j.broken(at(e) + "goal " + e.goal + " is submitted again; it was at " + std::to_string(i->second));
    std::size_t asked = 0;
    for (const auto& a : ev_.acknowledged) {
      if (!a.again_problem.empty())
        j.broken("goal " + a.id + ", asked for again with the same body, was refused: " + a.again_problem);
      else if (a.again && first.contains(a.id) && *a.again != first.at(a.id))
        j.broken("goal " + a.id + ", asked for again, was said to be entry " + std::to_string(*a.again) + ", not " + std::to_string(first.at(a.id)));
      if (a.conflict_refused && !*a.conflict_refused)
        j.broken("goal " + a.id + " was accepted with another body under the same id");
      asked += a.again.has_value() ? 1 : 0;
    }
    if (first.empty())
      return std::move(j).not_judged("there is no goal");
    return std::move(j).kept(count_of(first.size(), "goal") + ", each once" +
                             (asked == 0 ? "" : "; " + std::to_string(asked) + " asked for again were the same ones, and other bodies were refused"));
  }

  promise_verdict at_most_once() const {
    judgement j{"I3", "an effect happens at most once per key"};
    std::map<std::string, std::uint64_t> done;
    for (const auto& [e, body] : entries_)
      if (e.kind == event_kind::effect_done)
        if (const auto [i, is_new] = done.emplace(e.key, e.seq); !is_new)
          j.broken(at(e) + "effect " + e.key + " was done at " + std::to_string(i->second) + " already");
    std::map<std::pair<std::string, std::string>, std::string> published;
    for (const auto& v : ev_.versions)
      if (const auto [i, is_new] = published.emplace(std::pair{v.model, v.goal}, v.id()); !is_new && !v.goal.empty())
        j.broken("the registry holds " + i->second + " and " + v.id() + ", both of goal " + v.goal);
    if (done.empty())
      return std::move(j).not_judged("no effect was carried out");
    return std::move(j).kept(count_of(done.size(), "effect") + " done once" +
                             (ev_.registry_read ? ", " + count_of(ev_.versions.size(), "version") + " at the sink" : ", without a look at the sink"));
  }

  promise_verdict intent_first() const {
    judgement j{"I4", "an effect has an earlier durable intent"};
    std::set<std::string> intended, released;
    std::size_t effects = 0;
    for (const auto& [e, body] : entries_) {
      if (e.kind == event_kind::effect_intended) {
        intended.insert(e.key);
      } else if (e.kind == event_kind::effect_done || e.kind == event_kind::effect_failed) {
        ++effects;
        if (!intended.contains(e.key))
          j.broken(at(e) + "effect " + e.key + " has no intent before it");
      } else if (e.kind == event_kind::model_registered) {
        released.insert(e.subject);
        if (!intended.contains("release/" + e.goal))
          j.broken(at(e) + e.subject + " is registered without an intent of goal " + e.goal);
      }
    }
    for (const auto& v : ev_.versions)
      if (!intended.contains("release/" + v.goal))
        j.broken("the registry holds " + v.id() + " of goal " + v.goal + ", which the journal never intended");
    if (effects == 0)
      return std::move(j).not_judged("no effect was carried out");
    return std::move(j).kept(count_of(effects, "effect") + ", each intended before");
  }

  promise_verdict no_older_epoch() const {
    judgement j{"I5", "no sink accepts an older epoch"};
    std::uint64_t newest = 0, newest_node = 0;
    std::map<std::pair<std::string, std::uint64_t>, std::uint64_t> lives;
    for (const auto& [e, body] : entries_) {
      if (e.epoch < newest)
        j.broken(at(e) + "written by an owner of epoch " + std::to_string(e.epoch) + ", after epoch " + std::to_string(newest));
      newest = std::max(newest, e.epoch);
      if (e.kind != event_kind::node_state || text_of(body, "state") != "alive")
        continue;
      const auto epoch = number_of(body, "epoch");
      const auto [i, is_new] = lives.emplace(std::pair{e.subject, number_of(body, "incarnation")}, epoch);
      if (is_new ? epoch <= newest_node : epoch != i->second)
        j.broken(at(e) + "node " + e.subject + " is let in with epoch " + std::to_string(epoch) + ", after " + std::to_string(newest_node));
      newest_node = std::max(newest_node, epoch);
    }
    const auto last = std::max(newest, ev_.owner_epoch);
    for (const auto& a : ev_.aliases)
      if (a.epoch > last)
        j.broken(a.model + "@" + a.alias + " was set by epoch " + std::to_string(a.epoch) + ", which no owner ever had");
    if (entries_.empty())
      return std::move(j).not_judged("the journal is empty");
    return std::move(j).kept("owners up to epoch " + std::to_string(last) + " and " + count_of(lives.size(), "incarnation") + " of nodes, each newer than the one before");
  }

  promise_verdict one_writer() const {
    judgement j{"I6", "one writer per trial attempt, versions only grow"};
    std::map<trial_key, std::uint64_t> attempts;
    std::map<std::string, std::uint64_t> newest;
    std::map<std::string, std::string> manifests;
    for (const auto& [e, body] : entries_) {
      const trial_key t{e.goal, e.subject};
      if (e.kind == event_kind::trial_state && text_of(body, "state") == "running") {
        const auto attempt = number_of(body, "attempt");
        auto& now = attempts[t];
        if (attempt <= now)
          j.broken(at(e) + "attempt " + std::to_string(attempt) + " of " + e.subject + " starts after attempt " + std::to_string(now));
        now = std::max(now, attempt);
      } else if (e.kind == event_kind::trial_report && attempts.contains(t) && number_of(body, "attempt") != attempts[t]) {
        j.broken(at(e) + "attempt " + std::to_string(number_of(body, "attempt")) + " of " + e.subject + " reports while attempt " +
                 std::to_string(attempts[t]) + " runs");
      } else if (e.kind == event_kind::model_registered) {
        const auto [i, is_new] = manifests.emplace(e.subject, text_of(body, "manifest"));
        const auto slash = e.subject.find("/v");
        const auto number = slash == std::string::npos ? 0 : std::strtoull(e.subject.c_str() + slash + 2, nullptr, 10);
        auto& last = newest[e.subject.substr(0, slash)];
        if (!is_new && i->second != text_of(body, "manifest"))
          j.broken(at(e) + e.subject + " is registered again with other content");
        else if (is_new && number <= last)
          j.broken(at(e) + e.subject + " is registered after v" + std::to_string(last));
        last = std::max<std::uint64_t>(last, number);
      }
    }
    std::set<std::string> seen;
    for (const auto& v : ev_.versions) {
      if (!seen.insert(v.id()).second)
        j.broken("the registry holds " + v.id() + " twice");
      if (const auto i = manifests.find(v.id()); i != manifests.end() && i->second != v.manifest)
        j.broken(v.id() + " in the registry is not what the journal registered");
    }
    if (attempts.empty() && manifests.empty())
      return std::move(j).not_judged("no trial ran");
    return std::move(j).kept(count_of(attempts.size(), "trial") + " and " + count_of(manifests.size(), "version"));
  }

  promise_verdict approved() const {
    judgement j{"I7", "a production effect has one unexpired, unused approval by someone allowed to"};
    struct approval {
      json request;
      std::string granted_by, used_for;
      std::int64_t granted_at = 0;
    };
    std::map<std::string, approval> approvals;
    std::map<std::string, std::string> digests, allowed; ///< goal -> its plan; effect -> the approval used for it
    std::set<std::string> intended;
    for (const auto& [e, body] : entries_) {
      switch (e.kind) {
      case event_kind::plan_made: digests[e.goal] = text_of(body, "digest"); break;
      case event_kind::approval_requested: approvals[e.subject].request = body; break;
      case event_kind::approval_granted:
        if (auto& a = approvals[e.subject]; a.granted_by.empty()) {
          a.granted_by = text_of(body, "by");
          a.granted_at = e.time.ns;
          if (!may_grant(a.request, a.granted_by))
            j.broken(at(e) + e.subject + " was granted by " + a.granted_by + ", who may not");
        }
        break;
      case event_kind::approval_used: {
        auto& a = approvals[e.subject];
        if (!a.used_for.empty())
          j.broken(at(e) + e.subject + " is used for " + e.key + ", and was for " + a.used_for);
        else if (a.granted_by.empty())
          j.broken(at(e) + e.subject + " is used and nobody granted it");
        else if (e.time.ns > a.granted_at + static_cast<std::int64_t>(number_of(a.request, "valid_ns")))
          j.broken(at(e) + e.subject + " is used after it expired");
        else if (text_of(a.request, "digest") != digests[e.goal])
          j.broken(at(e) + e.subject + " approves another plan than that of " + e.goal);
        a.used_for = e.key;
        allowed[e.key] = e.subject;
        break;
      }
      case event_kind::effect_intended:
        if (!e.key.starts_with("rollout/"))
          break;
        intended.insert(e.key);
        if (!allowed.contains(e.key))
          j.broken(at(e) + "effect " + e.key + " begins without an approval");
        break;
      default: break;
      }
    }
    if (intended.empty())
      return std::move(j).not_judged("nothing went into production");
    return std::move(j).kept(count_of(intended.size(), "rollout") + ", each with its approval");
  }
  static bool may_grant(const json& request, const std::string& user) {
    const auto by = request.find("by");
    if (by == request.end() || !by->is_array())
      return false;
    const auto lists = [&](std::string_view who) { return std::find(by->begin(), by->end(), json(who)) != by->end(); };
    return lists(user) || lists(user == text_of(request, "requester") ? "@me" : "*");
  }

  promise_verdict scopes() const {
    return judgement{"I8", "a tool's scopes are a subset of its grant"}.not_judged("nothing in this version runs tools with grants, and so no history tells of them");
  }

  promise_verdict within_budget() const {
    judgement j{"I9", "reserved + spent <= budget"};
    struct account {
      double slot_seconds = 0, spent = 0;
      std::uint64_t trials = 0, trials_spent = 0;
      std::map<std::string, std::pair<double, std::uint64_t>> open;
    };
    std::map<std::string, account> accounts;
    std::size_t reservations = 0;
    for (const auto& [e, body] : entries_) {
      if (e.kind == event_kind::goal_submitted) {
        const auto budget = body.value("/spec/search/budget"_json_pointer, json::object());
        auto& a = accounts[e.goal];
        a.slot_seconds = real_of(budget, "slot_seconds");
        a.trials = number_of(budget, "trials");
      }
      const auto i = accounts.find(e.goal);
      if (i == accounts.end() || (e.kind != event_kind::budget_reserved && e.kind != event_kind::budget_settled))
        continue;
      auto& a = i->second;
      if (e.kind == event_kind::budget_reserved) {
        ++reservations;
        if (!a.open.emplace(e.key, std::pair{real_of(body, "slot_seconds"), number_of(body, "trials")}).second)
          j.broken(at(e) + e.key + " of " + e.goal + " is reserved twice");
      } else {
        if (a.open.erase(e.key) == 0)
          j.broken(at(e) + e.key + " of " + e.goal + " is paid and was not reserved");
        a.spent += real_of(body, "slot_seconds");
        a.trials_spent += number_of(body, "trials");
      }
      double reserved = 0;
      std::uint64_t trials = a.trials_spent;
      for (const auto& [key, amount] : a.open) {
        reserved += amount.first;
        trials += amount.second;
      }
      if (reserved + a.spent > a.slot_seconds * (1 + 1e-9) + 1e-6)
        j.broken(at(e) + "goal " + e.goal + " has reserved " + format_number(reserved) + " and spent " + format_number(a.spent) + " of " +
                 format_number(a.slot_seconds) + " slot seconds");
      if (trials > a.trials)
        j.broken(at(e) + "goal " + e.goal + " has " + std::to_string(trials) + " trials of " + std::to_string(a.trials));
    }
    if (reservations == 0)
      return std::move(j).not_judged("nothing was reserved");
    return std::move(j).kept(count_of(reservations, "reservation") + " of " + count_of(accounts.size(), "goal"));
  }

  promise_verdict checksums() const {
    judgement j{"I10", "what is loaded or served matches its checksum"};
    if (!ev_.chain.intact)
      j.broken("the journal is damaged: " + ev_.chain.reason);
    for (const auto& d : ev_.damage)
      j.broken(d);
    if (!ev_.registry_read)
      return std::move(j).not_judged("the registry could not be read");
    return std::move(j).kept("the chain of " + count_of(ev_.chain.events, "journal record") + " and " +
                             count_of(ev_.versions.size(), "version") + " of models");
  }

  promise_verdict nothing_left() const {
    judgement j{"I11", "slots add up; after quiet no orphan process, socket, file or lease"};
    for (const auto& s : ev_.slots)
      j.broken(s);
    if (!ev_.leftovers_looked_at)
      return std::move(j).not_judged("nobody looked");
    if (!ev_.quiet)
      return std::move(j).not_judged("it never was quiet" + (ev_.why_not_quiet.empty() ? "" : ": " + ev_.why_not_quiet));
    for (const auto& l : ev_.leftovers)
      j.broken(l);
    return std::move(j).kept("nothing is left behind");
  }

  promise_verdict goals_end() const {
    judgement j{"I12", "once faults stop, goals end"};
    std::size_t over = 0, waiting = 0;
    const auto states = goal_states(ev_.events);
    if (!ev_.settled)
      return std::move(j).not_judged("the goals were not given the time that they were to have");
    for (const auto& [goal, state] : states) {
      if (state == "running")
        j.broken("goal " + goal + " has not ended");
      waiting += state == "waiting" ? 1 : 0;
      over += state != "running" && state != "waiting" ? 1 : 0;
    }
    if (states.empty())
      return std::move(j).not_judged("there is no goal");
    return std::move(j).kept(count_of(over, "goal") + " ended" + (waiting > 0 ? ", " + std::to_string(waiting) + " wait for a person" : ""));
  }

  promise_verdict same_again() const {
    judgement j{"I13", "replaying the journal gives the same state"};
    if (ev_.before_seq && *ev_.before_seq > 0) {
      if (*ev_.before_seq > entries_.size() || entries_[*ev_.before_seq - 1].e.seq != *ev_.before_seq)
        j.broken("entry " + std::to_string(*ev_.before_seq) + ", the last before the faults, is not there any more");
      else if (entries_[*ev_.before_seq - 1].e.hash != ev_.before_hash)
        j.broken(at(entries_[*ev_.before_seq - 1].e) + "the history up to the faults is not what it was");
    }
    if (!ev_.registry_read)
      return std::move(j).not_judged("the registry could not be read");
    std::map<std::string, std::uint64_t> champions;
    std::map<std::string, std::uint64_t> registered;
    for (const auto& [e, body] : entries_) {
      if (e.kind == event_kind::alias_moved && e.subject.ends_with("@champion"))
        champions[e.subject.substr(0, e.subject.size() - 9)] = number_of(body, "to");
      if (e.kind == event_kind::model_registered)
        registered.emplace(e.subject, e.seq);
    }
    std::set<std::string> there;
    for (const auto& v : ev_.versions)
      there.insert(v.id());
    for (const auto& [id, seq] : registered)
      if (!there.contains(id))
        j.broken(at_seq(seq) + id + " is registered and not in the registry");
    if (ev_.settled) // a version is published a moment before the entry that says so
      for (const auto& id : there)
        if (!registered.contains(id))
          j.broken(id + " is in the registry and was never registered");
    for (const auto& a : ev_.aliases)
      if (a.alias == "champion" && ev_.settled && champions[a.model] != a.version)
        j.broken(a.model + "@champion is v" + std::to_string(a.version) + " in the registry and v" + std::to_string(champions[a.model]) + " by the journal");
    return std::move(j).kept("the history before the faults is unchanged, and versions and champions are those that the journal tells");
  }

  promise_verdict secrets() const {
    judgement j{"I14", "secrets appear in no log, error or checkpoint"};
    for (const auto& s : ev_.secrets_found)
      j.broken(s);
    if (ev_.secrets_looked_for == 0)
      return std::move(j).not_judged("there is no secret to look for");
    return std::move(j).kept(count_of(ev_.secrets_looked_for, "secret") + " looked for in journal, logs and checkpoints");
  }

  promise_verdict trials_counted() const {
    judgement j{"I15", "trials created = running + completed + pruned + failed, each result once"};
    std::map<trial_key, std::string> trials;
    for (const auto& [e, body] : entries_) {
      if (e.kind != event_kind::trial_state)
        continue;
      const auto state = text_of(body, "state");
      const trial_key t{e.goal, e.subject};
      const auto i = trials.find(t);
      if (state == "created" ? i != trials.end() : i == trials.end())
        j.broken(at(e) + "trial " + e.subject + " of " + e.goal + (state == "created" ? " is created twice" : " is " + state + " and was never created"));
      else if (i != trials.end() && is_terminal(i->second))
        j.broken(at(e) + "trial " + e.subject + " of " + e.goal + " is " + state + " after it had " + i->second);
      trials[t] = state;
    }
    std::map<std::string, std::string> states;
    for (const auto& [goal, state] : goal_states(ev_.events))
      states[goal] = state;
    for (const auto& [t, state] : trials)
      if (states[t.first] == "done" && !is_terminal(state))
        j.broken("trial " + t.second + " of " + t.first + " is still " + state + ", and the goal is done");
    if (trials.empty())
      return std::move(j).not_judged("no trial was made");
    return std::move(j).kept(count_of(trials.size(), "trial") + ", each counted once");
  }

  static std::string at_seq(std::uint64_t seq) { return "[" + std::to_string(seq) + "] "; }

  const promise_evidence& ev_;
  std::vector<entry> entries_;
};

} // namespace

std::string_view name_of(finding f) noexcept {
  switch (f) {
  case finding::kept: return "kept";
  case finding::broken: return "broken";
  case finding::not_judged: return "not judged";
  }
  return "";
}

std::vector<promise_verdict> judge_promises(const promise_evidence& e) { return history{e}.judge(); }

bool all_kept(const std::vector<promise_verdict>& verdicts) noexcept {
  return std::none_of(verdicts.begin(), verdicts.end(), [](const auto& v) { return v.found == finding::broken; });
}

json to_json(const std::vector<promise_verdict>& verdicts) {
  json out = json::array();
  for (const auto& v : verdicts)
    out.push_back({{"promise", v.promise}, {"title", v.title}, {"verdict", std::string{name_of(v.found)}}, {"reason", v.reason}, {"evidence", v.evidence}});
  return out;
}

std::vector<std::pair<std::string, std::string>> goal_states(const std::vector<event>& events) {
  std::vector<std::pair<std::string, std::string>> states;
  std::map<std::string, std::size_t> index;
  for (const auto& e : events) {
    if (e.kind == event_kind::goal_submitted && index.emplace(e.goal, states.size()).second)
      states.emplace_back(e.goal, "running");
    if (e.kind != event_kind::goal_state)
      continue;
    const auto i = index.find(e.goal);
    const auto body = json::parse(e.body, nullptr, false);
    if (i == index.end() || !body.is_object())
      continue;
    const auto state = text_of(body, "state");
    auto& now = states[i->second].second;
    now = state == "done" || state == "failed" || state == "cancelled" || state == "waiting" ? state : "running";
  }
  return states;
}

} // namespace flywheel
