-- ..._back(state, amount, until_us, burst, num, den, tick): what a state becomes when so much is given back. Each answers
-- with how much that is (nil: the state has another format); then, if anything is to be written, where in the state and
-- what. The layouts are those of the includes `token_bucket`, `gcra` and `fixed_window`.

-- The level rises at the time that it holds for: what has dropped in since comes on top, and the bucket is full when it is.
local function bucket_back(state, amount, until_us, burst)
  if #state ~= 21 or string.byte(state) ~= 1 then return nil end
  local whole = struct.unpack('>I4', state, 2)
  local given = math.max(0, math.min(amount, burst - whole))
  if given == 0 then return 0 end
  return given, 1, struct.pack('>I4', whole + given)
end

-- The theoretical arrival time moves back. Where it is then in the past, nothing is owed.
local function arrival_back(state, amount, until_us, burst, num, den, tick)
  if #state ~= 17 or string.byte(state) ~= 4 then return nil end
  local at, parts = struct.unpack('>I8I8', state, 2)
  -- Another num wrote it: the policy has changed, and the part of a tick counts as a whole one.
  if parts >= num then at, parts = at + tick, 0 end
  local rounds = math.floor(amount / num)
  local rest = (amount - rounds * num) * den
  local ticks = math.floor(rest / num)
  at, parts = at - (rounds * den + ticks) * tick, parts - (rest - ticks * num)
  if parts < 0 then at, parts = at - tick, parts + num end
  if at < 0 then at, parts = 0, 0 end
  return amount, 1, struct.pack('>I8I8', at, parts)
end

-- Only the window that it was lent from has it back.
local function window_back(state, amount, until_us)
  if #state ~= 25 or string.byte(state) ~= 3 then return nil end
  local ends, count = struct.unpack('>I8I8', state, 10)
  local given = ends == until_us and math.min(amount, count) or 0
  if given == 0 then return 0 end
  return given, 17, struct.pack('>I8', count - given)
end
