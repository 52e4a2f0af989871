-- Closes an upload for writing; from then on it does not expire. ARGV: the generation.
local size, held, generation, sealed, born = unpack(redis.call('HMGET', record, 'size', 'held', 'generation', 'sealed', 'born'))
if not size then return {ABSENT} end
if sealed then
  -- Written once more, so that WAIT has something to wait for.
  redis.call('HSET', record, 'sealed', '1')
  return {DONE}
end
if generation ~= ARGV[1] then return {SUPERSEDED} end
size, held = tonumber(size), tonumber(held)
local there = verified(born, size, held, 0)
if there < held then redis.call('HSET', record, 'held', digits(there)) end
if there < size then return {OUT_OF_ORDER, there} end
for number = 0, blocks(size) - 1 do redis.call('PERSIST', block(born, number)) end
redis.call('PERSIST', record)
redis.call('HSET', record, 'sealed', '1', 'touched', digits(now()))
return {DONE}
