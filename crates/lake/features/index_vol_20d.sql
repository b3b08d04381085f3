-- name: index_vol_20d
-- title: S&P 500 20-day volatility
-- short: index volatility
-- section: market
-- unit: share
-- window_days: 20
-- ttl_days: 10
-- kind: index
-- formula: sd (ddof 1) of 20 daily log returns, times sqrt(252)
SELECT stddev_samp(log_ret) * sqrt(252) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM index_closes
WHERE age < 20
HAVING count(log_ret) = 20
