-- name: index_ret_252d
-- title: S&P 500 252-day return
-- short: index year
-- section: market
-- unit: change
-- window_days: 252
-- ttl_days: 10
-- kind: index
-- formula: P(t) / P(t-252) - 1, sessions
close / lag(close, 252) OVER w - 1
