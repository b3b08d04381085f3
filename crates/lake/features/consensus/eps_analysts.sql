-- name: eps_analysts
-- title: analysts in the EPS consensus
-- section: sentiment
-- unit: count
-- use: research
-- ttl_days: 200
-- kind: estimates
-- formula: number of estimates in the latest consensus of the next fiscal year to be reported; undefined where the source does not state it
SELECT analysts AS value, event_time, known_at, source, url
FROM next_year_eps
WHERE age = 0 AND analysts > 0
