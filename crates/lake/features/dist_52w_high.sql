-- name: dist_52w_high
-- title: distance to the 52-week high
-- short: from year high
-- section: technicals
-- unit: change
-- polarity: neutral
-- window_days: 252
-- ttl_days: 10
-- kind: bars
-- formula: P(t) / max(P(t-251..t)) - 1, closes
SELECT
    max(close) FILTER (WHERE age = 0) / max(close) - 1 AS value,
    max(event_time) AS event_time, max(known_at) AS known_at
FROM closes
WHERE age < 252
HAVING count(*) = 252
