-- Holds an upload under a new generation. ARGV: milliseconds until it expires; its size if it is to be made when it is not
-- there, else nothing. Answers the generation and the bytes held.
local keep = tonumber(ARGV[1])
local size, held, generation, sealed, born = unpack(redis.call('HMGET', record, 'size', 'held', 'generation', 'sealed', 'born'))
local time = now()
if not size then
  if ARGV[2] == '' then return {ABSENT} end
  local start = digits(time)
  redis.call('HSET', record, 'size', ARGV[2], 'held', '0', 'generation', start, 'born', start, 'touched', start)
  redis.call('PEXPIRE', record, keep)
  return {DONE, time, 0}
end
if sealed then return {SEALED} end
-- Above those that were given before everything was lost, too: they were times as well.
local newest = math.max(tonumber(generation) + 1, time)
local there = verified(born, tonumber(size), tonumber(held), 0)
redis.call('HSET', record, 'generation', digits(newest), 'held', digits(there), 'touched', digits(time))
renew(born, there, keep)
return {DONE, newest, there}
