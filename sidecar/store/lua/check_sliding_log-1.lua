-- Decides on one call against an exact log of the calls in the window, and enters it if its cost is left. The algorithm
-- and what it does when the clock goes back stand in sidecar/ratelimit/models/sliding_log.py, which this script equals
-- step by step.
-- KEYS[1]  the log; no key is an empty one
-- ARGV[1]  limit (at most 10^4)
-- ARGV[2]  how long the window is (us)
-- ARGV[3]  cost (at most the limit)
-- ARGV[4]  1 to enter the cost, 0 only to look
-- returns  {1 allowed | 0 refused, remaining, retry_after_us, reset_after_us, now_us}
-- include: now
-- include: sliding_log
-- include: save
local now = now_us()
local allowed, remaining, retry_after, reset_after, written, ttl_ms, appends, passes = sliding_log(KEYS[1], now,
  tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[1]), tonumber(ARGV[2]))
if not allowed then return remaining end
if written then save(KEYS[1], written, ttl_ms, appends, passes) end
return {allowed, remaining, retry_after, reset_after, now}
