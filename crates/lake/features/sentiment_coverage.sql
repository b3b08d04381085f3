-- name: sentiment_coverage
-- title: news articles known in 30 days
-- short: news
-- section: sentiment
-- unit: count
-- window_days: 30
-- kind: news
-- coverage: true
-- formula: number of articles
SELECT count(*) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM news
WHERE age_days < 30
