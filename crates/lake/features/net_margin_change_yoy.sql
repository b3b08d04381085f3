-- name: net_margin_change_yoy
-- title: net margin change on the year
-- short: net margin change
-- section: fundamentals
-- unit: change_points
-- ttl_days: 500
-- kind: facts
-- formula: net margin(y) - net margin(y-1)
WITH margins AS (
    SELECT
        income.value / revenue.value AS margin, income.age, income.end_day, income.event_time,
        greatest(income.known_at, revenue.known_at) AS known_at, income.source, income.url
    FROM annual income JOIN annual revenue ON revenue.period_end = income.period_end
    WHERE income.metric = 'net_income' AND revenue.metric = 'revenue' AND revenue.value > 0
)
SELECT
    now.margin - prior.margin AS value, now.event_time,
    greatest(now.known_at, prior.known_at) AS known_at, now.source, now.url
FROM margins now CROSS JOIN margins prior
WHERE now.age = 0 AND now.end_day - prior.end_day BETWEEN 350 AND 380
