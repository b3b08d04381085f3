-- name: alpha_ksft
-- title: close within the candle to the open
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KSFT = (2 C - H - L) / O
(2 * close - high - low) / open
