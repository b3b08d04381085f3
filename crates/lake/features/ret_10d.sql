-- name: ret_10d
-- title: 10-day return
-- short: two week return
-- section: technicals
-- unit: change
-- window_days: 10
-- ttl_days: 10
-- kind: bars
-- formula: P(t) / P(t-10) - 1, sessions
close / lag(close, 10) OVER w - 1
