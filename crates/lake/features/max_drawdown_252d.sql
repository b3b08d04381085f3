-- name: max_drawdown_252d
-- title: 252-day maximum drawdown
-- short: year drawdown
-- section: risks
-- unit: change
-- window_days: 252
-- ttl_days: 10
-- kind: bars
-- formula: min over t of P(t) / max(P(..t)) - 1 in the last 252 closes
ts_max_drawdown(close, 252) OVER w
