#pragma once
// The owner's side of the control socket: takes commands of other terminals and answers them. One thread of its own.

#include "actors/node/node.hpp"

#include <functional>
#include <memory>

namespace flywheel {

class control_endpoint {
public:
  /// Listens on <state>/run/control.sock. `stop_requested` is called (from the endpoint's thread) when a terminal asks the
  /// process to end. The node must outlive the endpoint.
  static result<std::unique_ptr<control_endpoint>> open(node& n, std::function<void()> stop_requested);
  ~control_endpoint();

private:
  control_endpoint();
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
