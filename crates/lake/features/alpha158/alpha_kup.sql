-- name: alpha_kup
-- title: upper shadow to the open
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KUP = (H - max(O, C)) / O
(high - greatest(open, close)) / open
