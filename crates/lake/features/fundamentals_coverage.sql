-- name: fundamentals_coverage
-- title: annual reports known in 500 days
-- short: annual reports
-- section: fundamentals
-- unit: count
-- window_days: 500
-- kind: facts
-- coverage: true
-- formula: number of 10-K and 10-K/A filings
SELECT count(DISTINCT accession) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM facts
WHERE age_days < 500 AND form IN ('10-K', '10-K/A')
