-- Forgets dead letters.
-- KEYS[1]  the dead letters, a stream
-- KEYS[2]  the names that have dead letters
-- ARGV[*]  the ids of the dead letters
-- returns  how many there were
-- include: dead_names
local number = 0
for place = 1, #ARGV do
  local found = redis.call('XRANGE', KEYS[1], ARGV[place], ARGV[place])[1]
  if found then
    for at = 1, #found[2], 2 do
      if found[2][at] == 'n' then count_dead(KEYS[2], found[2][at + 1], -1) end
    end
    redis.call('XDEL', KEYS[1], ARGV[place])
    number = number + 1
  end
end
return number
