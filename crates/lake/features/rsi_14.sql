-- name: rsi_14
-- title: 14-day RSI
-- short: RSI
-- section: technicals
-- unit: level
-- window_days: 14
-- ttl_days: 10
-- kind: bars
-- formula: Wilder's RSI over the whole history, TA-Lib's seed
rsi_wilder(close, 14) OVER w
