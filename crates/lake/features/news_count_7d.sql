-- name: news_count_7d
-- title: news articles in 7 days
-- short: news in a week
-- section: sentiment
-- unit: count
-- window_days: 7
-- kind: news
-- formula: number of articles
SELECT count(*) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM news
WHERE age_days < 7
HAVING count(*) > 0
