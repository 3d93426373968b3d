-- Decides on one call by a limit's own algorithm, and lends the caller's sidecar more of the same: what it may spend without
-- asking. What is lent is taken with the call's cost, in one step; a call that is refused borrows nothing. The rules stand
-- in sidecar/ratelimit/models/lending.py, which this script equals step by step.
-- KEYS[1]   the limit's state
-- ARGV[1]   the algorithm's number (sidecar/ratelimit/terms.py): 1, 3 or 4
-- ARGV[2]   cost (tokens); 0 only to borrow
-- ARGV[3]   how much to lend at most (tokens)
-- ARGV[4]   from here on what the algorithm's own script takes before the cost: seven of a fixed window, four of the others
-- ARGV[5]   the second of these
-- ARGV[6]   the third
-- ARGV[7]   the fourth
-- ARGV[8]   the fifth
-- ARGV[9]   the sixth
-- ARGV[10]  the seventh
-- returns   {1 allowed | 0 refused, remaining (tokens, less what was lent), retry_after_us, reset_after_us, now_us, lent}
-- include: now
-- include: token_bucket
-- include: fixed_window
-- include: gcra
local ALGORITHMS = {[1] = token_bucket, [3] = fixed_window, [4] = gcra}
local now = now_us()

local function decide(cost, taking)
  return {ALGORITHMS[tonumber(ARGV[1])](KEYS[1], now, cost, taking, tonumber(ARGV[4]), tonumber(ARGV[5]),
    tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]))}
end

local standing = decide(0, false)
if not standing[1] then return standing[2] end
local cost = tonumber(ARGV[2])
local lent = math.max(0, math.min(tonumber(ARGV[3]), standing[2] - cost))
local one = decide(cost + lent, true)
if one[5] then redis.call('SET', KEYS[1], one[5], 'PX', one[6]) end
return {one[1], one[2], one[3], one[4], now, lent}
