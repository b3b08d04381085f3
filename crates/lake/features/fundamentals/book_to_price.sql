-- name: book_to_price
-- title: book to price
-- section: fundamentals
-- unit: ratio
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: stockholders' equity of the latest fiscal year / (shares outstanding as last reported x splits since x last raw close); Fama and French (1992)
SELECT
    year.equity / cap.value AS value, year.event_time,
    greatest(year.known_at, cap.known_at) AS known_at, year.source, year.url
FROM fiscal_years year CROSS JOIN market_cap cap
WHERE year.age = 0
