-- name: rsi_14
-- title: 14-day RSI
-- short: RSI
-- section: technicals
-- unit: level
-- window_days: 14
-- ttl_days: 10
-- kind: bars
-- formula: Wilder's RSI over the whole history, TA-Lib's seed
SELECT wilder_rsi(close, 14 ORDER BY session) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM bars
