-- name: news_tone_30d
-- title: mean news tone over 30 days
-- short: month tone
-- section: sentiment
-- unit: score
-- window_days: 30
-- kind: news
-- formula: mean VADER compound score of title and body
SELECT avg(tone) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM news
WHERE age_days < 30
HAVING count(*) > 0
