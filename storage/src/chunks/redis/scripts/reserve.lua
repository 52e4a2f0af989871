-- Promises room to an upload. KEYS[1]: the ledger, a hash of uploads ("<size> <time in microseconds>"), and of their sizes in
-- all as `total`. ARGV: the upload, its size, the bytes that may be promised in all. Answers whether it was promised before;
-- or, if there is no room, what is left.
local ledger = KEYS[1]
local total = tonumber(redis.call('HGET', ledger, 'total') or 0)
local size = tonumber(ARGV[2])
local before, since = 0, 0
local entry = redis.call('HGET', ledger, ARGV[1])
if entry then
  before, since = entry:match('^(%d+) (%d+)$')
  before, since = tonumber(before), tonumber(since)
end
if size > before and total - before + size > tonumber(ARGV[3]) then
  return {OUT_OF_ORDER, math.max(0, tonumber(ARGV[3]) - total)}
end
-- Written anew every time, so that who is about to give it back sees that it is in use again.
redis.call('HSET', ledger, ARGV[1], ARGV[2] .. ' ' .. digits(math.max(now(), since + 1)))
redis.call('HSET', ledger, 'total', digits(total - before + size))
return {DONE, entry and 1 or 0}
