-- name: net_margin
-- title: net margin
-- section: fundamentals
-- unit: share
-- ttl_days: 500
-- kind: facts
-- formula: net income / revenue of the latest fiscal year
SELECT
    part.value / revenue.value AS value, part.event_time,
    greatest(part.known_at, revenue.known_at) AS known_at, part.source, part.url
FROM annual part JOIN annual revenue ON revenue.period_end = part.period_end
WHERE part.metric = 'net_income' AND part.age = 0 AND revenue.metric = 'revenue' AND revenue.value > 0
