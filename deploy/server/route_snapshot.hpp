#pragma once
// The route table as requests see it: prepared once per swap, immutable, shared by the requests in flight.

#include "deploy/server/model_server.hpp"
#include "deploy/server/row_layout.hpp"
#include "deploy/server/server_metrics.hpp"

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace flywheel {

/// A served model with everything about its answers that does not depend on the request.
struct prepared_model {
  served_model served;
  bool challenger = false;
  row_layout layout;
  std::shared_ptr<version_metrics> metrics;
  std::string answer_middle;              ///< ,"model":"churn","version":"churn/v3","prediction":
  std::vector<std::string> class_json;    ///< "\"no\""
  const model_signature& signature() const noexcept { return served.model->signature(); }
};

struct route_snapshot {
  route_table table;
  std::optional<prepared_model> champion, challenger;
  bool same_coding = true; ///< a row decoded for one fits the other

  /// Decodes requests: the champion, else the challenger, else nobody.
  const prepared_model* first() const noexcept {
    return champion ? &*champion : challenger ? &*challenger : nullptr;
  }
  /// Who answers. With no champion (the first release ever) the challenger answers everything. There is a first().
  const prepared_model& choose(std::string_view key) const noexcept;
  /// By the protocol's version ("3"); null if neither is it.
  const prepared_model* by_version(std::string_view version) const noexcept;
};

std::shared_ptr<const route_snapshot> prepare_routes(const std::string& model, route_table table, server_metrics& metrics);

/// A shared pointer that many threads read and few replace. Readers use the stripe of their thread, so that they meet
/// only a writer, never each other; a replaced value lives as long as a request holds it.
template <class T> class snapshot_cell {
public:
  std::shared_ptr<const T> load() const {
    const stripe& s = stripes_[std::hash<std::thread::id>{}(std::this_thread::get_id()) % stripes_.size()];
    const std::scoped_lock lock{s.mutex};
    return s.value;
  }
  void store(const std::shared_ptr<const T>& value) {
    for (auto& s : stripes_) {
      auto old = value;
      const std::scoped_lock lock{s.mutex};
      s.value.swap(old); // the old one is released after the lock
    }
  }

private:
  struct alignas(64) stripe {
    mutable std::mutex mutex;
    std::shared_ptr<const T> value;
  };
  std::array<stripe, 8> stripes_;
};

} // namespace flywheel
