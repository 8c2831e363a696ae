#include "deploy/http_client.hpp"

#include "cluster/base/text.hpp"

#include <httplib.h>

namespace flywheel {

struct http_client::impl {
  std::string url;
  httplib::Client client;
  explicit impl(const std::string& u) : url(u), client(u) {}
};

namespace {

result<http_answer> answer_of(const httplib::Result& r, const std::string& url, const std::string& path) {
  if (r)
    return http_answer{r->status, r->body};
  const auto why = httplib::to_string(r.error());
  const bool late = r.error() == httplib::Error::Read || r.error() == httplib::Error::Write;
  return error{late ? errc::timed_out : errc::unreachable, why, url + path,
               late ? "" : "is the model served? run: flywheel models"};
}

} // namespace

http_client::http_client() = default;
http_client::http_client(http_client&&) noexcept = default;
http_client& http_client::operator=(http_client&&) noexcept = default;
http_client::~http_client() = default;

result<http_client> http_client::to(std::string_view url) {
  constexpr std::string_view scheme = "http://";
  if (!url.starts_with(scheme) || url.size() == scheme.size())
    return error{errc::invalid_argument, "'" + printable(url, 80) + "' is not an http:// address"};
  while (url.ends_with('/'))
    url.remove_suffix(1);
  http_client c;
  c.impl_ = std::make_unique<impl>(std::string{url});
  c.impl_->client.set_keep_alive(true);
  c.impl_->client.set_tcp_nodelay(true);
  c.impl_->client.set_connection_timeout(5);
  c.impl_->client.set_read_timeout(5);
  c.impl_->client.set_write_timeout(5);
  return c;
}

result<http_answer> http_client::get(const std::string& path) {
  return answer_of(impl_->client.Get(path), impl_->url, path);
}

result<http_answer> http_client::post_json(const std::string& path, const std::string& body) {
  return answer_of(impl_->client.Post(path, body, "application/json"), impl_->url, path);
}

} // namespace flywheel
