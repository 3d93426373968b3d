-- Removes a value, and makes the change for the origin, if the condition holds. Without one the change is made in any case:
-- the origin may have what is not cached.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- KEYS[3]  who loads the entry, who must not fill it any more
-- KEYS[4]  what is pending, by name
-- KEYS[5]  the stream of changes
-- KEYS[6]  what is taken
-- KEYS[7]  the owner
-- ARGV[1]  the condition: '', 'present' or a version
-- ARGV[2]  the request's fingerprint, or '' without an idempotency key
-- ARGV[3]  how long the record is kept (ms)
-- ARGV[4]  the entry's name
-- ARGV[5]  the origin's key, sealed; '' where it is the name
-- ARGV[6]  1 if changes of a name coalesce, else 0
-- ARGV[7]  the most changes that may be pending
-- returns  {1 applied | 2 condition not met | 3 not found, the time (us); 0 where nothing was changed}
-- include: now
-- include: header
-- include: idempotency
-- include: behind
local answer = recall(KEYS[2], ARGV[2])
if answer then return answer end
local pending = redis.call('HGET', KEYS[4], ARGV[4])
local there = redis.call('EXISTS', KEYS[1]) == 1
local head = there and redis.call('GETRANGE', KEYS[1], 0, HEADER_BYTES - 1) or pending_entry(pending)
local outcome = head and APPLIED or NOT_FOUND
if ARGV[1] ~= '' then
  if not head then return remember(KEYS[2], ARGV[2], ARGV[3], {NOT_FOUND, 0}) end
  if not holds(ARGV[1], parse_either(head) or -1) then
    return remember(KEYS[2], ARGV[2], ARGV[3], {CONDITION_NOT_MET, 0})
  end
end
local full = put_change({KEYS[4], KEYS[5], KEYS[6], KEYS[7]}, ARGV[4], ARGV[5], '', ARGV[6] == '1',
  tonumber(ARGV[7]), pending)
if full then return full end
redis.call('DEL', KEYS[1], KEYS[3])
return remember(KEYS[2], ARGV[2], ARGV[3], {outcome, now_us()})
