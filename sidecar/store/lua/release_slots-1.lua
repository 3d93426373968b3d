-- Gives a lease's slots back, if it has not ended. sidecar/ratelimit/slots_model.py says what it does step by step.
-- KEYS[1]  the leases
-- ARGV[1]  the lease's token
-- returns  {1 released | 0 no such lease, in_use, now_us}
-- include: now
-- include: leases
local token = ARGV[1]
local now = now_us()
local used, longest = tidy_leases(KEYS[1], now)
if not used then return longest end

if not redis.call('ZSCORE', KEYS[1], token) then return {0, used, now} end
used = used - slots_of(token)
drop_lease(KEYS[1], token)
if used == 0 then
  redis.call('DEL', KEYS[1])
else
  keep_leases(KEYS[1], now, used, longest)
end
return {1, used, now}
