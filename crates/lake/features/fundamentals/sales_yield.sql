-- name: sales_yield
-- title: sales to price
-- section: fundamentals
-- unit: ratio
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: revenue of the latest fiscal year / (shares outstanding as last reported x splits since x last raw close); Barbee, Mukherji and Raines (1996)
SELECT
    year.revenue / cap.value AS value, year.event_time,
    greatest(year.known_at, cap.known_at) AS known_at, year.source, year.url
FROM fiscal_years year CROSS JOIN market_cap cap
WHERE year.age = 0
