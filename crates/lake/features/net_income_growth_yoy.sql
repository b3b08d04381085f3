-- name: net_income_growth_yoy
-- title: annual net income growth
-- short: income growth
-- section: fundamentals
-- unit: change
-- ttl_days: 500
-- kind: facts
-- formula: X(y) / X(y-1) - 1, fiscal years as last reported; undefined where X(y-1) <= 0
SELECT
    now.value / prior.value - 1 AS value, now.event_time,
    greatest(now.known_at, prior.known_at) AS known_at, now.source, now.url
FROM annual now JOIN annual prior ON prior.metric = now.metric
WHERE now.metric = 'net_income' AND now.age = 0
    AND now.end_day - prior.end_day BETWEEN 350 AND 380 AND prior.value > 0
