-- name: alpha_kmid
-- title: body of the candle to its open
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KMID = (C - O) / O
(close - open) / open
