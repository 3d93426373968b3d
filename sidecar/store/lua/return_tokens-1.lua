-- Gives back what was lent of a limit and not spent. The rules stand in sidecar/ratelimit/models/lending.py, which this
-- script equals step by step. It needs no time: it writes only the part of the state that it changes, and the TTL stays.
-- KEYS[1]  the limit's state; no key is one that lacks nothing, and stays so
-- ARGV[1]  the algorithm's number (sidecar/ratelimit/terms.py): 1, 3 or 4
-- ARGV[2]  how much to give back (tokens)
-- ARGV[3]  of a fixed window: where the window ends that it was lent from (us since the epoch); else 0
-- ARGV[4]  of a bucket and by the generic cell rate algorithm, as when it was lent: burst; else 0
-- ARGV[5]  of the latter: num
-- ARGV[6]  den
-- ARGV[7]  the tick (us)
-- returns  how much went back (tokens): a bucket may be full, a window may have passed
-- include: give_back
local GIVES_BACK = {[1] = bucket_back, [3] = window_back, [4] = arrival_back}
local state = redis.call('GET', KEYS[1])
if not state then return 0 end
local given, at, text = GIVES_BACK[tonumber(ARGV[1])](state, tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]),
  tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]))
if not given then return redis.error_reply('SCFORMAT not a state of this algorithm') end
if text then redis.call('SETRANGE', KEYS[1], at, text) end
return given
