-- name: market_coverage
-- title: S&P 500 closes known in 30 days
-- short: index closes
-- section: market
-- unit: count
-- window_days: 30
-- kind: index
-- coverage: true
-- formula: number of closes
SELECT count(*) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM index_bars
WHERE age_days < 30
