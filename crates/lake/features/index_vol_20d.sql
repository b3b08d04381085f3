-- name: index_vol_20d
-- title: S&P 500 20-day volatility
-- short: index volatility
-- section: market
-- unit: share
-- window_days: 20
-- ttl_days: 10
-- kind: index
-- formula: sd (ddof 1) of 20 daily log returns, times sqrt(252)
ts_std(log_ret, 20) OVER w * sqrt(252)
