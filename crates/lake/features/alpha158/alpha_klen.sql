-- name: alpha_klen
-- title: length of the candle to its open
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KLEN = (H - L) / O
(high - low) / open
