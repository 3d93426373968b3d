-- Gives a plain string a new TTL, counted from now.
-- KEYS[1]  the string
-- KEYS[2]  the record of the idempotency key; the string's key again if there is none
-- ARGV[1]  the TTL (ms)
-- ARGV[2]  the request's fingerprint, or '' without an idempotency key
-- ARGV[3]  how long the record is kept (ms)
-- returns  {1 applied | 3 not found, 0, ttl_ms}
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[2])
if answer then return answer end
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'none' and kind ~= 'string' then
  return redis.error_reply('WRONGTYPE not a string')
end
answer = {NOT_FOUND, 0, 0}
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 1 then
  answer = {APPLIED, 0, tonumber(ARGV[1])}
end
return remember(KEYS[2], ARGV[2], ARGV[3], answer)
