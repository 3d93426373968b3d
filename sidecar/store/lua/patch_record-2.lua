-- Removes and sets single fields of a record that is there, if the condition holds.
-- KEYS[1]  the record
-- KEYS[2]  the record of the idempotency key; the record's key again if there is none
-- ARGV[1]  for how long it is fresh from now (ms); '' leaves its TTL as it is
-- ARGV[2]  for how long after that it may be served stale (ms)
-- ARGV[3]  the condition: '', 'present' or a version
-- ARGV[4]  the request's fingerprint, or '' without an idempotency key
-- ARGV[5]  how long the idempotency record is kept (ms)
-- ARGV[6]  the most fields that the record may have
-- ARGV[7]  the most bytes that their names and values may have together
-- ARGV[8]  the number of fields to remove; after it come their names, then the names and values to set
-- returns  {1 applied | 2 condition not met | 3 not found, version, fresh_ms}
-- include: now
-- include: header
-- include: idempotency
local answer = recall(KEYS[2], ARGV[4])
if answer then return answer end
local head = redis.call('HGET', KEYS[1], '')
if not head then
  if redis.call('EXISTS', KEYS[1]) == 1 then return malformed() end
  return remember(KEYS[2], ARGV[4], ARGV[5], {NOT_FOUND, 0, 0})
end
local version, _, fresh_until = parse_header(head)
if not version then return malformed() end
if not holds(ARGV[3], version) then
  return remember(KEYS[2], ARGV[4], ARGV[5], {CONDITION_NOT_MET, version, 0})
end
local now = now_us()
local first_set = 9 + tonumber(ARGV[8])
version = next_version(version, now)
if ARGV[1] ~= '' then fresh_until = now + tonumber(ARGV[1]) * 1000 end
local sizes = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if name ~= '' then sizes[name] = #name + redis.call('HSTRLEN', KEYS[1], name) end
end
for i = 9, first_set - 1 do sizes[ARGV[i]] = nil end
for i = first_set, #ARGV, 2 do sizes[ARGV[i]] = #ARGV[i] + #ARGV[i + 1] end
local count, bytes = 0, 0
for _, size in pairs(sizes) do count, bytes = count + 1, bytes + size end
if count > tonumber(ARGV[6]) then return redis.error_reply('SCFIELDS too many fields') end
if bytes > tonumber(ARGV[7]) then return redis.error_reply('SCBYTES too many bytes') end
if first_set > 9 then redis.call('HDEL', KEYS[1], unpack(ARGV, 9, first_set - 1)) end
redis.call('HSET', KEYS[1], '', make_header(version, now, fresh_until), unpack(ARGV, first_set))
if ARGV[1] ~= '' then redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[1]) + tonumber(ARGV[2])) end
return remember(KEYS[2], ARGV[4], ARGV[5], {APPLIED, version, left_ms(fresh_until, now)})
