-- Decides on one call against a sliding window of sub-windows, and counts its cost if that much is left. The algorithm
-- and what it does when the clock goes back stand in sidecar/ratelimit/model.py, which this script equals step by step.
-- KEYS[1]  the window's counts; no key is an empty window
-- ARGV[1]  limit (at most 2^32 - 1)
-- ARGV[2]  how long a sub-window is (us)
-- ARGV[3]  how many sub-windows count: those of one window, and the one before
-- ARGV[4]  cost (at most the limit)
-- ARGV[5]  1 to count the cost, 0 only to look
-- returns  {1 allowed | 0 refused, remaining, retry_after_us, reset_after_us, now_us}
-- include: now
-- include: sliding_window
local now = now_us()
local allowed, remaining, retry_after, reset_after, state, ttl_ms = sliding_window(KEYS[1], now,
  tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
if not allowed then return remaining end
if state then redis.call('SET', KEYS[1], state, 'PX', ttl_ms) end
return {allowed, remaining, retry_after, reset_after, now}
