-- Adds to a plain decimal integer of 64 bits, which is made if there is none. A counter that is there keeps its TTL.
-- KEYS[1]  the string
-- KEYS[2]  the record of the idempotency key; the string's key again if there is none
-- ARGV[1]  what to add
-- ARGV[2]  what to begin with
-- ARGV[3]  the TTL of a new counter (ms)
-- ARGV[4]  the request's fingerprint, or '' without an idempotency key
-- ARGV[5]  how long the record is kept (ms)
-- returns  {1, 0, ttl_ms or -1 for ever, the sum as text}
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[4])
if answer then return answer end
local made = redis.call('EXISTS', KEYS[1]) == 0
if made then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'table' then
  if made then redis.call('DEL', KEYS[1]) end
  if string.find(sum['err'], 'overflow', 1, true) then return redis.error_reply('SCRANGE beyond 64 bits') end
  if string.find(sum['err'], 'not an integer', 1, true) then return redis.error_reply('SCNOTINT not a decimal integer') end
  return sum
end
-- Read it back: as a Lua number it would lose what is beyond 2^53.
answer = {APPLIED, 0, redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[1])}
return remember(KEYS[2], ARGV[4], ARGV[5], answer)
