-- name: vol_60d
-- title: 60-day volatility
-- short: quarter volatility
-- section: risks
-- unit: share
-- window_days: 60
-- ttl_days: 10
-- kind: bars
-- formula: sd (ddof 1) of 60 daily log returns, times sqrt(252)
ts_std(log_ret, 60) OVER w * sqrt(252)
