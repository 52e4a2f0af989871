-- What the scripts on an upload share. KEYS[1] is the key of its record, a hash; its blocks are beside it, in the same slot,
-- named by the time at which this upload of that id was made: readers of an earlier one are not disturbed.
--
-- An answer begins with a number: DONE, or why not.
local DONE, ABSENT, SUPERSEDED, SEALED, OUT_OF_ORDER, MISSING = 0, 1, 2, 3, 4, 5
local record = KEYS[1]

-- Numbers up to 2^53 are exact in Lua; written without an exponent.
local function digits(number) return string.format('%.0f', number) end

-- Microseconds since the epoch, by the clock of the server.
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function block(born, number) return record .. ':' .. born .. ':' .. digits(number) end
local function blocks(bytes) return math.ceil(bytes / BLOCK) end
local function length(size, number) return math.min(BLOCK, size - number * BLOCK) end

-- Of the `held` bytes, those before the first block from `first` on that is not there. A block has its whole length from the
-- start.
local function verified(born, size, held, first)
  for number = first, blocks(held) - 1 do
    if redis.call('STRLEN', block(born, number)) ~= length(size, number) then return number * BLOCK end
  end
  return held
end

-- Puts off the expiry of what is being written, once half of the time is over. The record goes first, the blocks after it.
local function renew(born, held, keep)
  if redis.call('PTTL', record) > keep / 2 then return end
  for number = 0, blocks(held) - 1 do redis.call('PEXPIRE', block(born, number), keep + MARGIN) end
  redis.call('PEXPIRE', record, keep)
end
