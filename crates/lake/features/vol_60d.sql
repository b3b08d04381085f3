-- name: vol_60d
-- title: 60-day volatility
-- short: quarter volatility
-- section: risks
-- unit: share
-- window_days: 60
-- ttl_days: 10
-- kind: bars
-- formula: sd (ddof 1) of 60 daily log returns, times sqrt(252)
SELECT stddev_samp(log_ret) * sqrt(252) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM closes
WHERE age < 60
HAVING count(log_ret) = 60
