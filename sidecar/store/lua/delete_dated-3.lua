-- Removes a value, if the condition holds, where one that is out of date is as good as none.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- KEYS[3]  who loads the entry, who must not fill it any more
-- ARGV[1]  the condition: '', 'present' or a version
-- ARGV[2]  the request's fingerprint, or '' without an idempotency key
-- ARGV[3]  how long the record is kept (ms)
-- ARGV[4]  the position below which an entry does not count
-- returns  {1 applied | 2 condition not met | 3 not found, the time (us); 0 where the condition was not met}
-- include: now
-- include: header
-- include: dated
-- include: idempotency
local answer = recall(KEYS[2], ARGV[2])
if answer then return answer end
local head = redis.call('GETRANGE', KEYS[1], 0, DATED_BYTES - 1)
local outcome = NOT_FOUND
if head ~= '' or redis.call('EXISTS', KEYS[1]) == 1 then
  local version, _, _, position = parse_dated(head)
  if version and position < tonumber(ARGV[4]) then
    redis.call('DEL', KEYS[1], KEYS[3])
  elseif ARGV[1] == '' or holds(ARGV[1], version or -1) then
    redis.call('DEL', KEYS[1], KEYS[3])
    outcome = APPLIED
  else
    outcome = CONDITION_NOT_MET
  end
else
  redis.call('DEL', KEYS[3])
end
return remember(KEYS[2], ARGV[2], ARGV[3], {outcome, outcome == CONDITION_NOT_MET and 0 or now_us()})
