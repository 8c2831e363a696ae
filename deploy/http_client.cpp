#include "deploy/http_client.hpp"

#include "cluster/base/text.hpp"

#include <curl/curl.h>

#include <array>
#include <mutex>

namespace flywheel {

struct http_client::impl {
  std::string url;
  CURL* handle = nullptr;
  curl_slist* headers = nullptr;
  std::string body;
  std::array<char, CURL_ERROR_SIZE> why{};

  ~impl() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(handle);
  }
};

namespace {

/// Answers are small; a server that sends more is not one of ours.
constexpr std::size_t answer_bytes_max = 64u << 20;

std::size_t take(char* bytes, std::size_t size, std::size_t count, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + size * count > answer_bytes_max)
    return 0;
  body.append(bytes, size * count);
  return size * count;
}

/// libcurl wants to be set up once, before any thread uses it.
void set_up() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
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
  set_up();
  http_client c;
  c.impl_ = std::make_unique<impl>();
  auto& s = *c.impl_;
  s.url = url;
  s.handle = curl_easy_init();
  if (s.handle == nullptr)
    return error{errc::out_of_memory, "libcurl could not be set up"};
  s.headers = curl_slist_append(nullptr, "Content-Type: application/json");
  s.headers = curl_slist_append(s.headers, "Expect:"); // never wait for "100 Continue"
  curl_easy_setopt(s.handle, CURLOPT_HTTPHEADER, s.headers);
  curl_easy_setopt(s.handle, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(s.handle, CURLOPT_WRITEDATA, &s.body);
  curl_easy_setopt(s.handle, CURLOPT_ERRORBUFFER, s.why.data());
  curl_easy_setopt(s.handle, CURLOPT_CONNECTTIMEOUT, 5L);
  curl_easy_setopt(s.handle, CURLOPT_TIMEOUT, 10L);
  curl_easy_setopt(s.handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(s.handle, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(s.handle, CURLOPT_NOPROXY, "*"); // a proxy of the environment is not meant for our own servers
  return c;
}

result<http_answer> http_client::ask(const std::string& path) {
  auto& s = *impl_;
  s.body.clear();
  s.why[0] = '\0';
  curl_easy_setopt(s.handle, CURLOPT_URL, (s.url + path).c_str());
  if (const auto code = curl_easy_perform(s.handle); code != CURLE_OK) {
    const std::string why = s.why[0] != '\0' ? s.why.data() : curl_easy_strerror(code);
    return error{code == CURLE_OPERATION_TIMEDOUT ? errc::timed_out : errc::unreachable, why, s.url + path,
                 "is the model served? run: flywheel models"};
  }
  long status = 0;
  curl_easy_getinfo(s.handle, CURLINFO_RESPONSE_CODE, &status);
  return http_answer{static_cast<int>(status), s.body};
}

result<http_answer> http_client::get(const std::string& path) {
  curl_easy_setopt(impl_->handle, CURLOPT_HTTPGET, 1L);
  return ask(path);
}

result<http_answer> http_client::post_json(const std::string& path, const std::string& body) {
  curl_easy_setopt(impl_->handle, CURLOPT_POST, 1L);
  curl_easy_setopt(impl_->handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(impl_->handle, CURLOPT_POSTFIELDS, body.data());
  return ask(path);
}

} // namespace flywheel
