-- What is pending in a partition of a write-behind cache (sidecar/cache/write_behind/__init__.py).
-- A change is the size of the origin's key (two bytes), that key where it is not the name itself, and the entry as it is
-- cached; no entry removes the key. A pending change stands behind its id and a space, a taken one behind the number of
-- its attempts (four bytes), the size of its name (two bytes) and the name. In the hash of what is taken a change stands
-- under `i` and its id; under `n` and a name stands the id of the change that is under way for it.

-- split_pending(text): the id and the change.
local function split_pending(text)
  local at = string.find(text, ' ', 1, true)
  return string.sub(text, 1, at - 1), string.sub(text, at + 1)
end

-- entry_in(change): the entry, '' if the change removes it.
local function entry_in(change)
  return string.sub(change, 3 + struct.unpack('>H', change))
end

-- pending_entry(text): the entry of a pending change; nil if there is none or it removes the entry.
local function pending_entry(text)
  if not text then return nil end
  local _, change = split_pending(text)
  local entry = entry_in(change)
  if entry == '' then return nil end
  return entry
end

-- put_change(keys, name, key, entry, coalesces, most, pending): makes a change pending, in place of one of the name that
-- waits for its first attempt if it coalesces; an error if there is no room. The keys are those of what is pending, the
-- stream, what is taken, and the owner.
local function put_change(keys, name, key, entry, coalesces, most, pending)
  local change = struct.pack('>H', #key) .. key .. entry
  if coalesces and pending then
    local id = split_pending(pending)
    if redis.call('HEXISTS', keys[3], 'i' .. id) == 0 then
      redis.call('HSET', keys[1], name, id .. ' ' .. change)
      redis.call('HINCRBY', keys[4], 'c', 1)
      return nil
    end
  end
  if redis.call('XLEN', keys[2]) + redis.call('HLEN', keys[3]) / 2 >= most then
    return redis.error_reply('SCFULL as many changes are pending as may be')
  end
  local id
  if coalesces then
    id = redis.call('XADD', keys[2], '*', 'n', name)
  else
    id = redis.call('XADD', keys[2], '*', 'n', name, 'c', change)
  end
  redis.call('HSET', keys[1], name, id .. ' ' .. change)
  return nil
end

-- owns(key, fence): whether the one with this fence still works the partition.
local function owns(key, fence)
  return redis.call('HGET', key, 'f') == fence
end
