-- name: alpha_kup2
-- title: upper shadow to the length
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KUP2 = (H - max(O, C)) / (H - L)
(high - greatest(open, close)) / (high - low + 1e-12)
