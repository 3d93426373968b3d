-- Lets a lease end later, if it has not ended. sidecar/ratelimit/slots_model.py says what it does step by step.
-- KEYS[1]  the leases
-- ARGV[1]  the lease's token
-- ARGV[2]  how long the lease is to be from now (us); it never becomes shorter
-- returns  {1 renewed | 0 no such lease, expires_after_us, now_us}
-- include: now
-- include: leases
local token, lease = ARGV[1], tonumber(ARGV[2])
local now = now_us()
local used, longest = tidy_leases(KEYS[1], now)
if not used then return longest end

local held = redis.call('ZSCORE', KEYS[1], token)
if not held then return {0, 0, now} end
local ends = math.max(now + lease, tonumber(held))
keep_leases(KEYS[1], now, used, math.max(longest, lease), ends, token)
return {1, ends - now, now}
