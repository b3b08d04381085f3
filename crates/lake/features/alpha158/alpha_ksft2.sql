-- name: alpha_ksft2
-- title: close within the candle to the length
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 KSFT2 = (2 C - H - L) / (H - L)
(2 * close - high - low) / (high - low + 1e-12)
