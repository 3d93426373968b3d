-- Removes a value, if the condition holds. What is being loaded meanwhile may be what is to be removed.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- KEYS[3]  who loads the entry, who must not fill it any more; nobody most often
-- ARGV[1]  the condition: '', 'present' or a version
-- ARGV[2]  the request's fingerprint, or '' without an idempotency key
-- ARGV[3]  how long the record is kept (ms)
-- returns  {1 applied | 2 condition not met | 3 not found, the time (us); 0 where the condition was not met}
-- include: now
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[2])
if answer then return answer end
local head = redis.call('GETRANGE', KEYS[1], 0, HEADER_BYTES - 1)
local outcome = NOT_FOUND
-- What no sidecar wrote may be deleted too, but not by its version; it may be empty.
if head ~= '' or redis.call('EXISTS', KEYS[1]) == 1 then
  if ARGV[1] == '' or holds(ARGV[1], parse_either(head) or -1) then
    redis.call('DEL', KEYS[1], KEYS[3])
    outcome = APPLIED
  else
    outcome = CONDITION_NOT_MET
  end
else
  redis.call('DEL', KEYS[3])
end
return remember(KEYS[2], ARGV[2], ARGV[3], {outcome, outcome == CONDITION_NOT_MET and 0 or now_us()})
