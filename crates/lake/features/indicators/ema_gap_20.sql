-- name: ema_gap_20
-- title: close against its 20-day exponential average
-- section: technicals
-- unit: change
-- use: research
-- window_days: 20
-- ttl_days: 10
-- kind: bars
-- formula: C / EMA(20) - 1
close / ema(close, 20) OVER w - 1
