-- name: beta_252d
-- title: 252-day beta to the S&P 500
-- short: beta
-- section: risks
-- unit: ratio
-- window_days: 252
-- ttl_days: 10
-- kind: bars
-- formula: cov(r, m) / var(m) of 252 simple daily returns
ts_beta(ret, market_ret, 252) OVER w
