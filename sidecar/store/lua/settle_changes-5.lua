-- Says what came of changes that were sent.
-- KEYS[1]  the owner
-- KEYS[2]  what is pending, by name
-- KEYS[3]  what is taken
-- KEYS[4]  the dead letters, a stream
-- KEYS[5]  the names that have dead letters
-- ARGV[1]  the owner's fence
-- ARGV[*]  for each change: `+` stored, `x` never to be, `~` to be tried again; its id; its name; the reason why not, or ''
-- returns  1 | 0 the caller does not own the partition
-- include: behind
-- include: dead_names
if not owns(KEYS[1], ARGV[1]) then return 0 end
for place = 2, #ARGV, 4 do
  local verdict, id, name, reason = ARGV[place], ARGV[place + 1], ARGV[place + 2], ARGV[place + 3]
  local taken = redis.call('HGET', KEYS[3], 'i' .. id)
  if taken then
    local attempts = struct.unpack('>I', taken) + 1
    if verdict == '~' then
      redis.call('HSET', KEYS[3], 'i' .. id, struct.pack('>I', attempts) .. string.sub(taken, 5))
    else
      redis.call('HDEL', KEYS[3], 'i' .. id, 'n' .. name)
      local pending = redis.call('HGET', KEYS[2], name)
      if pending and split_pending(pending) == id then redis.call('HDEL', KEYS[2], name) end
      if verdict == 'x' then
        redis.call('XADD', KEYS[4], '*', 'n', name, 'i', id, 'c', string.sub(taken, 7 + #name), 'r', reason, 'a', attempts)
        count_dead(KEYS[5], name, 1)
      else
        note_stored(KEYS[5], name, id)
      end
    end
  end
end
return 1
