-- Writes a value with its header, position and tags, if the condition holds. What is being loaded meanwhile is older. If
-- one of the tags was invalidated since the writing began, it is as if that had been done just after: nothing is left.
-- KEYS[1]  the entry
-- KEYS[2]  the record of the idempotency key; the entry's key again if there is none
-- KEYS[3]  who loads the entry, who must not fill it any more
-- KEYS[4]  the entry's fence
-- ARGV[1]  the value, behind position and tags
-- ARGV[2]  for how long it is fresh (ms)
-- ARGV[3]  for how long after that it may be served stale (ms)
-- ARGV[4]  the condition: '', 'absent', 'present' or a version
-- ARGV[5]  the request's fingerprint, or '' without an idempotency key
-- ARGV[6]  how long the record is kept (ms)
-- ARGV[7]  the position below which an entry does not count
-- ARGV[8]  the fence when the writing began
-- ARGV[9]  until when it must have ended (us); 0 without tags, where the fence does not matter
-- ARGV[10] what the entry opens with; not given for a plain one
-- returns  {1 applied | 2 condition not met, version, fresh_ms}
-- include: now
-- include: header
-- include: dated
-- include: idempotency
local answer = recall(KEYS[2], ARGV[5])
if answer then return answer end
local head = redis.call('GETRANGE', KEYS[1], 0, DATED_BYTES - 1)
local before, version
if head ~= '' then
  local _, position
  before, _, _, position = parse_dated(head)
  if not before then return malformed() end
  if position >= tonumber(ARGV[7]) then version = before end
end
if not holds(ARGV[4], version) then
  return remember(KEYS[2], ARGV[5], ARGV[6], {CONDITION_NOT_MET, version or 0, 0})
end
local now = now_us()
local fresh_ms = tonumber(ARGV[2])
local ends = tonumber(ARGV[9])
version = next_version(before, now)
if ends > 0 and (now > ends or (redis.call('GET', KEYS[4]) or '') ~= ARGV[8]) then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], make_dated_header(version, now, now + fresh_ms * 1000, ARGV[10]) .. ARGV[1],
    'PX', fresh_ms + tonumber(ARGV[3]))
end
redis.call('DEL', KEYS[3])
return remember(KEYS[2], ARGV[5], ARGV[6], {APPLIED, version, fresh_ms})
