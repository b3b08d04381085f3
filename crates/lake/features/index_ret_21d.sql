-- name: index_ret_21d
-- title: S&P 500 21-day return
-- short: index month
-- section: market
-- unit: change
-- window_days: 21
-- ttl_days: 10
-- kind: index
-- formula: P(t) / P(t-21) - 1, sessions
close / lag(close, 21) OVER w - 1
