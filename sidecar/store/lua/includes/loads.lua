-- Beside an entry there may be one of these, a string that expires by itself:
--   the token of who loads the entry
--   '-'  that the origin has no such thing
-- Writing or deleting the entry removes it, so whoever loads then hears that what was loaded is out of date.
local NOTHING_THERE = '-'

-- loads_anyway(which, version): whether an entry of that version is to be loaded though it is fresh: '*' any, '' none.
local function loads_anyway(which, version)
  return which == '*' or (which ~= '' and which == string.format('%.0f', version))
end

-- is_writers(held): whether it is the token of who writes the entry to its origin, not of one who loads it.
local function is_writers(held) return string.sub(held, -1) == 'w' end
