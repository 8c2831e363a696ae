-- For wrk: posts the rows of $ROWS in turn, each as one request; at the end prints one line of JSON.
local requests, at = {}, 0

function init(args)
  for line in io.lines(os.getenv("ROWS")) do
    requests[#requests + 1] = wrk.format("POST", "/predict", { ["Content-Type"] = "application/json" }, line)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"failed":%d}\n', summary.requests, summary.duration / 1e6,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
