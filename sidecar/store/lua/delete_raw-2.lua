-- Removes a plain string.
-- KEYS[1]  the string
-- KEYS[2]  the record of the idempotency key; the string's key again if there is none
-- ARGV[1]  the request's fingerprint, or '' without an idempotency key
-- ARGV[2]  how long the record is kept (ms)
-- returns  {1 applied | 3 not found}
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[1])
if answer then return answer end
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'none' and kind ~= 'string' then
  return redis.error_reply('WRONGTYPE not a string')
end
local outcome = redis.call('DEL', KEYS[1]) == 1 and APPLIED or NOT_FOUND
return remember(KEYS[2], ARGV[1], ARGV[2], {outcome})
