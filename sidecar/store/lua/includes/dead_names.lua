-- The names that have dead letters: how many, a space, and the id of the last change of the name that was stored since.

-- read_dead(key, name): both; nil if the name has none.
local function read_dead(key, name)
  local text = redis.call('HGET', key, name)
  if not text then return nil end
  local number, id = string.match(text, '^(%d+) (.*)$')
  return tonumber(number), id
end

local function count_dead(key, name, more)
  local number, id = read_dead(key, name)
  number = (number or 0) + more
  if number > 0 then
    redis.call('HSET', key, name, string.format('%d ', number) .. (id or ''))
  else
    redis.call('HDEL', key, name)
  end
end

local function note_stored(key, name, id)
  local number = read_dead(key, name)
  if number then redis.call('HSET', key, name, string.format('%d ', number) .. id) end
end

-- is_newer(one, other): whether one id is of a later change than another.
local function is_newer(one, other)
  local one_ms, one_number = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_number = string.match(other, '^(%d+)-(%d+)$')
  if not one_ms then return false end
  if one_ms ~= other_ms then return tonumber(one_ms) > tonumber(other_ms) end
  return tonumber(one_number) > tonumber(other_number)
end
