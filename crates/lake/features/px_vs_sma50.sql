-- name: px_vs_sma50
-- title: price against its 50-day average
-- short: price to average
-- section: technicals
-- unit: change
-- window_days: 50
-- ttl_days: 10
-- kind: bars
-- formula: P(t) / mean(P(t-49..t)) - 1
close / ts_mean(close, 50) OVER w - 1
