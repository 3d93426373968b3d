-- Takes changes that wait, in their order, of each name one at a time: what a change says is then settled, and it is sent
-- under its id until that is answered, whoever owns the partition.
-- KEYS[1]  the owner
-- KEYS[2]  the stream of changes
-- KEYS[3]  what is pending, by name
-- KEYS[4]  what is taken
-- ARGV[1]  the owner's fence
-- ARGV[2]  how many to take at most
-- ARGV[3]  how many to look at at most
-- ARGV[4]  where to look from, as XRANGE has it: '-' from the first
-- ARGV[5]  1 to be told also what is taken already, else 0
-- ARGV[*]  the names that were passed over before where to look from: what follows of them is passed over too, though no
--          change of theirs may be under way any more
-- returns  {1, where to look on or '', how many coalesced since the last time, the names passed over, the ids, the taken
--          changes} | {0} the caller does not own the partition
-- include: behind
if not owns(KEYS[1], ARGV[1]) then return {0} end
local coalesced = tonumber(redis.call('HGET', KEYS[1], 'c') or 0)
if coalesced > 0 then redis.call('HDEL', KEYS[1], 'c') end
local ids, changes, passed = {}, {}, {}
if ARGV[5] == '1' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
    if string.sub(field, 1, 1) == 'i' then
      ids[#ids + 1] = string.sub(field, 2)
      changes[#changes + 1] = redis.call('HGET', KEYS[4], field)
    end
  end
end
local room, look = tonumber(ARGV[2]), tonumber(ARGV[3])
local found = room > 0 and redis.call('XRANGE', KEYS[2], ARGV[4], '+', 'COUNT', look) or {}
local last, stopped = '', false
local skipped = {}
for place = 6, #ARGV do skipped[ARGV[place]] = true end
for _, item in ipairs(found) do
  if room == 0 then
    stopped = true
    break
  end
  last = item[1]
  local fields = {}
  for place = 1, #item[2], 2 do fields[item[2][place]] = item[2][place + 1] end
  local name = fields.n
  if skipped[name] or redis.call('HEXISTS', KEYS[4], 'n' .. name) == 1 then
    skipped[name] = true
    passed[#passed + 1] = name
  else
    local id, change = fields.t or last, fields.c
    -- What is pending under the id is the newest, also where the change came by a sidecar whose changes do not coalesce, and
    -- a newer one by one whose do.
    local pending = redis.call('HGET', KEYS[3], name)
    if pending then
      local pending_id, newest = split_pending(pending)
      if pending_id == last then change = newest end
    end
    redis.call('XDEL', KEYS[2], last)
    -- What a newer change has replaced in a cache whose changes coalesced once is in that one.
    if change then
      local taken = struct.pack('>IH', 0, #name) .. name .. change
      redis.call('HSET', KEYS[4], 'i' .. id, taken, 'n' .. name, id)
      ids[#ids + 1], changes[#changes + 1] = id, taken
      room = room - 1
    end
  end
end
if not stopped and #found < look then last = '' end
return {1, last, coalesced, passed, ids, changes}
