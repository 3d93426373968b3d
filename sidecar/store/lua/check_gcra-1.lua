-- Decides on one call by the generic cell rate algorithm, and moves the theoretical arrival time if it conforms. The
-- algorithm and its exactness stand in sidecar/ratelimit/models/gcra.py, which this script equals step by step.
-- KEYS[1]  the theoretical arrival time; no key is one that has passed
-- ARGV[1]  burst: how many tokens can be had at once (at most 10^9, and what the rate gives in ten years)
-- ARGV[2]  num: num tokens come in every den ticks, in lowest terms; (num + 1) * den < 2^53
-- ARGV[3]  den
-- ARGV[4]  the tick (us)
-- ARGV[5]  cost (tokens, at most burst)
-- ARGV[6]  1 to take the cost, 0 only to look
-- returns  {1 allowed | 0 refused, remaining (tokens), retry_after_us, reset_after_us, now_us}
-- include: now
-- include: gcra
local now = now_us()
local allowed, remaining, retry_after, reset_after, state, ttl_ms = gcra(KEYS[1], now,
  tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
if not allowed then return remaining end
if state then redis.call('SET', KEYS[1], state, 'PX', ttl_ms) end
return {allowed, remaining, retry_after, reset_after, now}
