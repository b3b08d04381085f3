-- name: earnings_yield
-- title: earnings yield
-- section: fundamentals
-- unit: share
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: net income of the latest fiscal year / (shares outstanding as last reported x splits since x last raw close); Basu (1977)
SELECT
    year.net_income / cap.value AS value, year.event_time,
    greatest(year.known_at, cap.known_at) AS known_at, year.source, year.url
FROM fiscal_years year CROSS JOIN market_cap cap
WHERE year.age = 0
