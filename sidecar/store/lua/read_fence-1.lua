-- Begins the writing of an entry with tags.
-- KEYS[1]  the entry's fence
-- returns  {the fence or '', the time (us)}
-- include: now
return {redis.call('GET', KEYS[1]) or '', now_us()}
