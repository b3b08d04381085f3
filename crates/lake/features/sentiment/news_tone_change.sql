-- name: news_tone_change
-- title: mean news tone of 7 days less that of 30
-- section: sentiment
-- unit: score
-- use: research
-- window_days: 30
-- kind: news
-- formula: mean VADER compound score of 7 days - that of 30 days
SELECT
    avg(tone) FILTER (WHERE age_days < 7) - avg(tone) AS value,
    max(event_time) AS event_time, max(known_at) AS known_at
FROM news
WHERE age_days < 30
HAVING count(*) FILTER (WHERE age_days < 7) > 0
