#pragma once
// A small HTTP/1.1 client with one kept-alive connection: for `flywheel predict`, the evaluator's replay and tests.

#include "cluster/base/error.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace flywheel {

struct http_answer {
  int code = 0;
  std::string body;
};

/// One connection; not thread-safe. Plain HTTP only.
class http_client {
public:
  /// `url`: "http://host:port". invalid_argument if it is not that. Connects on first use.
  static result<http_client> to(std::string_view url);
  /// unreachable or timed_out (10 s) if there is no answer; any status code is an answer.
  result<http_answer> get(const std::string& path);
  result<http_answer> post_json(const std::string& path, const std::string& body);

  http_client(http_client&&) noexcept;
  http_client& operator=(http_client&&) noexcept;
  ~http_client();

private:
  http_client();
  result<http_answer> ask(const std::string& path);
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace flywheel
