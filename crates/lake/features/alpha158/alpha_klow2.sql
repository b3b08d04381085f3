-- name: alpha_klow2
-- title: lower shadow to the length
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KLOW2 = (min(O, C) - L) / (H - L)
(least(open, close) - low) / (high - low + 1e-12)
