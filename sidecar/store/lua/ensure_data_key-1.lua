-- Keep the first wrapped data key that is offered for an epoch, so that all sidecars share it.
-- KEYS[1]  the wrapped data key
-- ARGV[1]  the record to keep if there is none
-- ARGV[2]  its TTL (milliseconds; 0 for none)
-- returns  the record that is kept: an earlier one, or ARGV[1]
local kept = redis.call('GET', KEYS[1])
if kept then
  return kept
end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return ARGV[1]
