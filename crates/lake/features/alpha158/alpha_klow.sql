-- name: alpha_klow
-- title: lower shadow to the open
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KLOW = (min(O, C) - L) / O
(least(open, close) - low) / open
