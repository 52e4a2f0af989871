-- Takes back what an upload was promised. KEYS[1]: the ledger. ARGV: the upload, its entry as it was before the upload was
-- removed: if it has changed since, the upload is being made again.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry or entry ~= ARGV[2] then return {ABSENT} end
local total = tonumber(redis.call('HGET', KEYS[1], 'total') or 0)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], 'total', digits(math.max(0, total - tonumber(entry:match('^%d+')))))
return {DONE}
