-- name: news_tone_7d
-- title: mean news tone over 7 days
-- short: week tone
-- section: sentiment
-- unit: score
-- window_days: 7
-- kind: news
-- formula: mean VADER compound score of title and body
SELECT avg(tone) AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM news
WHERE age_days < 7
HAVING count(*) > 0
