-- Beside an entry there may be one of these, a string that expires by itself:
--   the token of who loads the entry
--   '-'  that the origin has no such thing
-- Writing or deleting the entry removes it, so whoever loads then hears that what was loaded is out of date.
local NOTHING_THERE = '-'
