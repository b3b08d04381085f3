-- name: px_vs_sma50
-- title: price against its 50-day average
-- short: price to average
-- section: technicals
-- unit: change
-- window_days: 50
-- ttl_days: 10
-- kind: bars
-- formula: P(t) / mean(P(t-49..t)) - 1
SELECT
    max(close) FILTER (WHERE age = 0) / avg(close) - 1 AS value,
    max(event_time) AS event_time, max(known_at) AS known_at
FROM closes
WHERE age < 50
HAVING count(*) = 50
