-- name: asset_growth_yoy
-- title: annual asset growth
-- section: fundamentals
-- unit: change
-- polarity: bad
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: A(y) / A(y-1) - 1 at the ends of fiscal years; Cooper, Gulen and Schill (2008)
SELECT
    now.assets / prior.assets - 1 AS value, now.event_time,
    greatest(now.known_at, prior.known_at) AS known_at, now.source, now.url
FROM fiscal_years now JOIN fiscal_years prior ON now.end_day - prior.end_day BETWEEN 350 AND 380
WHERE now.age = 0 AND prior.assets > 0
