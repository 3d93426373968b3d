-- Leases slots to one holder if that many are free. The algorithm and what it does when the clock goes back stand in
-- sidecar/ratelimit/slots_model.py, which this script equals step by step.
-- KEYS[1]  the leases; no key is none
-- ARGV[1]  limit: how many slots there are
-- ARGV[2]  slots to lease (1 to the limit)
-- ARGV[3]  how long the lease is (us)
-- ARGV[4]  the lease's id
-- returns  {1 leased | 0 refused | 2 the id has a lease of another size, in_use, expires_after_us, retry_after_us,
--           now_us}
-- include: now
-- include: leases
local limit, slots, lease = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local id = ARGV[4]
local now = now_us()
local used, longest = tidy_leases(KEYS[1], now)
if not used then return longest end

local token = string.format('%s.%.0f', id, slots)
local ends = now + lease
local is_named = string.sub(id, 1, 1) == NAMED
local held = is_named and redis.call('ZSCORE', KEYS[1], id)
if held then
  if -tonumber(held) ~= slots then return {2, used, 0, 0, now} end
  ends = math.max(ends, tonumber(redis.call('ZSCORE', KEYS[1], token)))
elseif used + slots > limit then
  return {0, used, 0, room_after(KEYS[1], now, used + slots - limit, longest), now}
else
  used = used + slots
  if is_named then redis.call('ZADD', KEYS[1], -slots, id) end
end
keep_leases(KEYS[1], now, used, math.max(longest, lease), ends, token)
return {1, used, ends - now, 0, now}
