-- Decides on one call against a fixed window, and counts its cost if that much is left. The algorithm and what it does
-- when the clock goes back stand in sidecar/ratelimit/models/fixed_window.py, which this script equals step by step.
-- KEYS[1]  the window's count; no key is an empty window
-- ARGV[1]  limit (at most 2^32 - 1)
-- ARGV[2]  1 to count a refused cost all the same, 0 not to
-- ARGV[3]  how long a window is (us), for windows from the epoch; 0 for those of a calendar
-- ARGV[4]  where the previous window of the calendar begins (us since the epoch), by the caller's reckoning
-- ARGV[5]  where the present one begins
-- ARGV[6]  where the next one begins
-- ARGV[7]  where the next one ends
-- ARGV[8]  cost (above the limit: refused)
-- ARGV[9]  1 to count the cost, 0 only to look
-- returns  {1 allowed | 0 refused, remaining, retry_after_us, reset_after_us, now_us}; SCCLOCK if the time is in none of
--          the three windows
-- include: now
-- include: fixed_window
local now = now_us()
local allowed, remaining, retry_after, reset_after, state, ttl_ms = fixed_window(KEYS[1], now,
  tonumber(ARGV[8]), ARGV[9] == '1', tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]),
  tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
if not allowed then return remaining end
if state then redis.call('SET', KEYS[1], state, 'PX', ttl_ms) end
return {allowed, remaining, retry_after, reset_after, now}
