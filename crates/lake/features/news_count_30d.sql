-- name: news_count_30d
-- title: news articles in 30 days
-- short: news in a month
-- section: sentiment
-- unit: count
-- window_days: 30
-- kind: news
-- formula: number of articles
SELECT count(*) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM news
WHERE age_days < 30
HAVING count(*) > 0
