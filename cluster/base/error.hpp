#pragma once
// The one vocabulary of failure. The world's errors travel upward as values of this type so that an
// agent can answer, retry or ask a person; a programmer's mistake is an assert (see assert.hpp), never an error.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace flywheel {

/// What the conductor may do about an error. See actors/conductor/retry_policy.
enum class error_class : std::uint8_t {
  none,        ///< no error
  bad_input,   ///< the caller's text, file or argument is wrong: never retried, exit code 2
  not_found,   ///< what was named does not exist: exit code 3
  denied,      ///< a role, an approval, a grant or a budget forbids it: exit code 4
  unreachable, ///< nobody answers there: retried with backoff, exit code 5
  waiting,     ///< a person must act first: exit code 6
  transient,   ///< may work next time (time-out, lost worker, busy port): retried with backoff
  resource,    ///< out of memory, disk or slots: retried smaller or later
  damaged,     ///< bytes do not match their checksum: reported, quarantined, never retried blindly
  conflict,    ///< somebody else got there first (other body for one id, older epoch, lock held)
  cancelled,   ///< a person or a policy stopped it
  failed,      ///< it ran and did not succeed; running it again would do the same
  internal,    ///< a bug of ours that was contained
};

/// X(name, class, the one sentence people read)
#define FLYWHEEL_ERRORS(X)                                                                              \
  X(ok, none, "no error")                                                                               \
  X(invalid_argument, bad_input, "an argument is not acceptable")                                       \
  X(invalid_goal, bad_input, "the goal file has problems")                                              \
  X(invalid_contract, bad_input, "the data contract has problems")                                      \
  X(invalid_data, bad_input, "the data breaks its contract")                                            \
  X(invalid_format, bad_input, "the bytes are not in the expected format")                              \
  X(unsupported, bad_input, "this is not supported here")                                               \
  X(too_large, bad_input, "a limit of the system is exceeded")                                          \
  X(not_found, not_found, "it does not exist")                                                          \
  X(permission_denied, denied, "the operating system refused access")                                   \
  X(not_allowed, denied, "this role may not do that")                                                   \
  X(not_approved, denied, "the effect has no valid approval")                                           \
  X(budget_exhausted, denied, "the budget is used up")                                                  \
  X(unreachable, unreachable, "nobody answers there")                                                   \
  X(waiting_for_approval, waiting, "a person must approve first")                                       \
  X(timed_out, transient, "it took longer than allowed")                                                \
  X(interrupted, transient, "it was interrupted")                                                       \
  X(worker_lost, transient, "the worker process ended before it answered")                              \
  X(worker_silent, transient, "the worker process stopped answering")                                   \
  X(protocol_violation, transient, "the peer broke the protocol")                                       \
  X(io_failed, transient, "reading or writing failed")                                                  \
  X(address_in_use, resource, "the port is taken")                                                      \
  X(out_of_memory, resource, "memory ran out")                                                          \
  X(disk_full, resource, "the disk is full")                                                            \
  X(no_capacity, resource, "no free slot")                                                              \
  X(checksum_mismatch, damaged, "the bytes do not match their checksum")                                \
  X(journal_damaged, damaged, "the journal's chain is broken")                                          \
  X(incompatible_version, damaged, "it was written by an incompatible version")                         \
  X(already_exists, conflict, "it exists already with another content")                                 \
  X(stale_epoch, conflict, "a newer owner has taken over")                                              \
  X(state_locked, conflict, "another process owns this state directory")                                \
  X(cancelled, cancelled, "it was cancelled")                                                           \
  X(training_diverged, failed, "training produced a value that is not finite")                          \
  X(gate_failed, failed, "the result does not meet its threshold")                                      \
  X(gate_inconclusive, failed, "the evidence does not decide either way")                               \
  X(rollout_failed, failed, "the rollout was rolled back")                                              \
  X(library_failed, failed, "a library reported an error")                                              \
  X(internal, internal, "an internal check failed; this is a bug in Flywheel")

enum class errc : std::uint16_t {
#define FLYWHEEL_X(name, klass, sentence) name,
  FLYWHEEL_ERRORS(FLYWHEEL_X)
#undef FLYWHEEL_X
};

/// The identifier as written above, e.g. "disk_full"; stable, used in the journal and in -o json.
std::string_view name_of(errc code) noexcept;
/// The inverse of name_of; nothing for an unknown name.
std::optional<errc> errc_from_name(std::string_view name) noexcept;
/// The one sentence, e.g. "the disk is full".
std::string_view sentence_of(errc code) noexcept;
error_class class_of(errc code) noexcept;
std::string_view name_of(error_class c) noexcept;
/// Exit code of the command line for an error: 1 failed, 2 bad input, 3 not found, 4 denied, 5 unreachable, 6 waiting.
int exit_code_of(errc code) noexcept;

/// A failure with enough for the person who must act on it.
/// `what`: what happened, values last. `where`: file:line:col, node, rank or key; may be empty.
/// `hint`: what to do next, an imperative sentence; may be empty. Contains no secrets (I14).
struct [[nodiscard]] error {
  errc code = errc::internal;
  std::string what;
  std::string where;
  std::string hint;

  error() = default;
  error(errc code_, std::string what_, std::string where_ = {}, std::string hint_ = {})
      : code(code_), what(std::move(what_)), where(std::move(where_)), hint(std::move(hint_)) {}

  error_class klass() const noexcept { return class_of(code); }
  /// One line: "<where>: <sentence>: <what> [<name>]; <hint>".
  std::string to_string() const;
  /// The same error, told from further out: `outer` is put before `what`.
  error&& in(std::string_view outer) &&;
};

/// errno translated once; `what` names the call and the object, e.g. "open /x/y".
error error_from_errno(int errno_value, std::string what, std::string where = {});

/// A value or an error. Accessing the wrong one is a programmer's mistake and aborts.
template <class T> class [[nodiscard]] result {
public:
  result(T value) : data_(std::in_place_index<0>, std::move(value)) {}
  result(flywheel::error e) : data_(std::in_place_index<1>, std::move(e)) {}
  result(errc code, std::string what) : data_(std::in_place_index<1>, flywheel::error{code, std::move(what)}) {}

  bool has_value() const noexcept { return data_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& value() & { return std::get<0>(data_); }
  const T& value() const& { return std::get<0>(data_); }
  T&& value() && { return std::get<0>(std::move(data_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T value_or(T other) const& { return has_value() ? value() : std::move(other); }

  flywheel::error& error() & { return std::get<1>(data_); }
  const flywheel::error& error() const& { return std::get<1>(data_); }
  flywheel::error&& error() && { return std::get<1>(std::move(data_)); }

private:
  std::variant<T, flywheel::error> data_;
};

/// Success or an error.
class [[nodiscard]] status {
public:
  status() = default;
  status(flywheel::error e) : error_(std::move(e)) {}
  status(errc code, std::string what) : error_(flywheel::error{code, std::move(what)}) {}

  bool ok() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  const flywheel::error& error() const& { return error_.value(); }
  flywheel::error&& error() && { return std::move(error_).value(); }

private:
  std::optional<flywheel::error> error_;
};

inline status success() { return {}; }

} // namespace flywheel

#define FLYWHEEL_CAT_(a, b) a##b
#define FLYWHEEL_CAT(a, b) FLYWHEEL_CAT_(a, b)
/// FLYWHEEL_TRY(auto x, f()); - x is f()'s value, or the enclosing function returns f()'s error.
#define FLYWHEEL_TRY(declaration, expression)                                                           \
  auto FLYWHEEL_CAT(flywheel_try_, __LINE__) = (expression);                                            \
  if (!FLYWHEEL_CAT(flywheel_try_, __LINE__))                                                           \
    return std::move(FLYWHEEL_CAT(flywheel_try_, __LINE__)).error();                                    \
  declaration = std::move(FLYWHEEL_CAT(flywheel_try_, __LINE__)).value()
/// FLYWHEEL_CHECK(g()); - for functions that return status.
#define FLYWHEEL_CHECK(expression)                                                                      \
  do {                                                                                                  \
    if (auto flywheel_status_ = (expression); !flywheel_status_)                                        \
      return std::move(flywheel_status_).error();                                                       \
  } while (false)
