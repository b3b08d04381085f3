-- name: alpha_kmid2
-- title: body of the candle to its length
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KMID2 = (C - O) / (H - L)
(close - open) / (high - low + 1e-12)
