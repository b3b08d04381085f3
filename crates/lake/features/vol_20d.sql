-- name: vol_20d
-- title: 20-day volatility
-- short: month volatility
-- section: risks
-- unit: share
-- window_days: 20
-- ttl_days: 10
-- kind: bars
-- formula: sd (ddof 1) of 20 daily log returns, times sqrt(252)
ts_std(log_ret, 20) OVER w * sqrt(252)
