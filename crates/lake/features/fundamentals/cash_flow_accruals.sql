-- name: cash_flow_accruals
-- title: cash flow accruals to assets
-- section: fundamentals
-- unit: change
-- polarity: bad
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: (net income - net cash from operating activities) / mean assets of the latest fiscal year; Hribar and Collins (2002)
SELECT
    2 * (now.net_income - now.operating_cash_flow) / (now.assets + prior.assets) AS value, now.event_time,
    greatest(now.known_at, prior.known_at) AS known_at, now.source, now.url
FROM fiscal_years now JOIN fiscal_years prior ON now.end_day - prior.end_day BETWEEN 350 AND 380
WHERE now.age = 0 AND now.assets > 0 AND prior.assets > 0
