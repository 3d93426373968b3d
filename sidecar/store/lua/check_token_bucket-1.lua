-- Decides on one call against a token bucket, and takes its cost if that much is there. The algorithm, its exactness and
-- what it does when the clock goes back stand in sidecar/ratelimit/model.py, which this script equals step by step.
-- KEYS[1]  the bucket; no key is a full bucket
-- ARGV[1]  burst: how many whole tokens it holds (at most 10^9)
-- ARGV[2]  num: num tokens drop in every den ticks, in lowest terms; (num + 1) * den < 2^53
-- ARGV[3]  den
-- ARGV[4]  the tick (us)
-- ARGV[5]  cost (tokens, at most burst)
-- ARGV[6]  1 to take the cost, 0 only to look
-- returns  {1 allowed | 0 refused, remaining (tokens), retry_after_us, reset_after_us, now_us}
-- include: now
-- include: token_bucket
local now = now_us()
local allowed, remaining, retry_after, reset_after, state, ttl_ms = token_bucket(KEYS[1], now,
  tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]))
if not allowed then return remaining end
if state then redis.call('SET', KEYS[1], state, 'PX', ttl_ms) end
return {allowed, remaining, retry_after, reset_after, now}
