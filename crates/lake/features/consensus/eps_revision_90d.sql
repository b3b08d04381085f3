-- name: eps_revision_90d
-- title: 90-day revision of the EPS consensus
-- section: fundamentals
-- unit: change
-- use: research
-- window_days: 90
-- ttl_days: 200
-- kind: estimates
-- formula: (F(t) - F(t-90)) / |F(t-90)|: consensus of the next fiscal year to be reported, as it stood then and now; Stickel (1991)
WITH past AS (
    SELECT mean FROM next_year_eps
    WHERE age_days >= 90
    ORDER BY age
    LIMIT 1
)
SELECT
    (now.mean - past.mean) / abs(past.mean) AS value, now.event_time, now.known_at, now.source, now.url
FROM next_year_eps now CROSS JOIN past
WHERE now.age = 0 AND past.mean <> 0
