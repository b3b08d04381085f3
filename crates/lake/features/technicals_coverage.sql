-- name: technicals_coverage
-- title: closes known in 30 days
-- short: closes
-- section: technicals
-- unit: count
-- window_days: 30
-- kind: bars
-- coverage: true
-- formula: number of closes
SELECT count(*) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM bars
WHERE age_days < 30
