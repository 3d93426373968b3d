-- Makes dead letters pending again, under the ids that they were sent with, unless a newer change of their name is pending
-- or was stored.
-- KEYS[1]  the dead letters, a stream
-- KEYS[2]  the names that have dead letters
-- KEYS[3]  the stream of changes
-- KEYS[4]  what is pending, by name
-- KEYS[5]  what is taken
-- ARGV[1]  1 to have them replayed though a newer change was stored, else 0
-- ARGV[*]  the ids of the dead letters
-- returns  for each 1 replayed | 2 a newer change was stored | 3 one is pending | 0 there is none of that id
-- include: behind
-- include: dead_names
local answers = {}
for place = 2, #ARGV do
  local id = ARGV[place]
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  local answer = 0
  if found then
    local fields = {}
    for at = 1, #found[2], 2 do fields[found[2][at]] = found[2][at + 1] end
    local _, stored = read_dead(KEYS[2], fields.n)
    if redis.call('HEXISTS', KEYS[4], fields.n) == 1 or redis.call('HEXISTS', KEYS[5], 'n' .. fields.n) == 1 then
      answer = 3
    elseif ARGV[1] == '0' and stored and is_newer(stored, fields.i) then
      answer = 2
    else
      redis.call('XADD', KEYS[3], '*', 'n', fields.n, 't', fields.i, 'c', fields.c)
      redis.call('XDEL', KEYS[1], id)
      count_dead(KEYS[2], fields.n, -1)
      answer = 1
    end
  end
  answers[#answers + 1] = answer
end
return answers
