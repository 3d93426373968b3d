-- Writes a plain string with its TTL, if the condition holds.
-- KEYS[1]  the string
-- KEYS[2]  the record of the idempotency key; the string's key again if there is none
-- ARGV[1]  the value
-- ARGV[2]  its TTL (ms)
-- ARGV[3]  the condition: '', 'absent' or 'present'
-- ARGV[4]  the request's fingerprint, or '' without an idempotency key
-- ARGV[5]  how long the record is kept (ms)
-- returns  {1 applied | 2 condition not met, 0, ttl_ms}
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[4])
if answer then return answer end
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'none' and kind ~= 'string' then
  return redis.error_reply('WRONGTYPE not a string')
end
if not holds(ARGV[3], kind == 'string' and 0 or nil) then
  return remember(KEYS[2], ARGV[4], ARGV[5], {CONDITION_NOT_MET, 0, 0})
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return remember(KEYS[2], ARGV[4], ARGV[5], {APPLIED, 0, tonumber(ARGV[2])})
