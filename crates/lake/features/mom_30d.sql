-- name: mom_30d
-- title: 30-day momentum
-- short: month momentum
-- section: technicals
-- unit: change
-- window_days: 30
-- ttl_days: 10
-- kind: bars
-- formula: P(t) / P(t-30) - 1, sessions
close / lag(close, 30) OVER w - 1
