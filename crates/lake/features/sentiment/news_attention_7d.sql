-- name: news_attention_7d
-- title: news of a week against its 90-day mean
-- section: sentiment
-- unit: change
-- polarity: neutral
-- use: research
-- window_days: 90
-- kind: news
-- formula: n(7) / (n(90) x 7 / 90) - 1, n(d) the articles known in d days; undefined where the archive of the name is younger than 90 days
SELECT
    count(*) FILTER (WHERE age_days < 7) / (count(*) FILTER (WHERE age_days < 90) * 7.0 / 90.0) - 1 AS value,
    max(event_time) AS event_time, max(known_at) AS known_at
FROM news
HAVING count(*) FILTER (WHERE age_days < 90) > 0 AND max(age_days) >= 90
