-- name: insider_coverage
-- title: Form 4 filings known in 90 days
-- short: filings
-- section: insider
-- unit: count
-- window_days: 90
-- kind: insider
-- coverage: true
-- formula: number of filings
SELECT count(DISTINCT accession) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM insider
WHERE age_days < 90
