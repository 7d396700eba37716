-- The load of every HTTP peer, for wrk with one thread: one request shape over LOAD_KEYS keys, chosen at random.
-- All requests are made before the run starts, so that the client costs the same for every peer.
-- Knows no peer: LOAD_METHOD, LOAD_PATH (with {key} in it) and LOAD_BODY come from run.py.

local requests = {}

function init()
  math.randomseed(tonumber(os.getenv("LOAD_SEED")))
  local body = os.getenv("LOAD_BODY")
  if body == "" then body = nil end
  local headers = body and { ["content-type"] = "application/json" } or {}
  for key = 0, tonumber(os.getenv("LOAD_KEYS")) - 1 do
    local path = os.getenv("LOAD_PATH"):gsub("{key}", "k" .. key)
    requests[key + 1] = wrk.format(os.getenv("LOAD_METHOD"), path, headers, body)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'JSON {"answers":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"errors":%d,"refused":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.timeout, e.status))
end
