-- name: risks_coverage
-- title: closes known in 90 days
-- short: closes
-- section: risks
-- unit: count
-- window_days: 90
-- kind: bars
-- coverage: true
-- formula: number of closes
SELECT count(*) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM bars
WHERE age_days < 90
