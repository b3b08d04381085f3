-- name: mom_252_21
-- title: 12-1 month momentum
-- short: year momentum
-- section: technicals
-- unit: change
-- window_days: 252
-- ttl_days: 10
-- kind: bars
-- formula: P(t-21) / P(t-252) - 1, sessions
lag(close, 21) OVER w / lag(close, 252) OVER w - 1
