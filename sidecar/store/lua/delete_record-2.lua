-- Removes a record, if the condition holds.
-- KEYS[1]  the record
-- KEYS[2]  the record of the idempotency key; the record's key again if there is none
-- ARGV[1]  the condition: '', 'present' or a version
-- ARGV[2]  the request's fingerprint, or '' without an idempotency key
-- ARGV[3]  how long the idempotency record is kept (ms)
-- returns  {1 applied | 2 condition not met | 3 not found}
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[2])
if answer then return answer end
local head = redis.call('HGET', KEYS[1], '')
local outcome = NOT_FOUND
if redis.call('EXISTS', KEYS[1]) == 1 then
  if ARGV[1] == '' or holds(ARGV[1], parse_header(head or '') or -1) then
    redis.call('DEL', KEYS[1])
    outcome = APPLIED
  else
    outcome = CONDITION_NOT_MET
  end
end
return remember(KEYS[2], ARGV[2], ARGV[3], {outcome})
