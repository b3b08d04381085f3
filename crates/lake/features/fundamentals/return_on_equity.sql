-- name: return_on_equity
-- title: return on equity
-- section: fundamentals
-- unit: share
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: net income / mean of stockholders' equity at both ends of the latest fiscal year; undefined where an equity <= 0
SELECT
    2 * now.net_income / (now.equity + prior.equity) AS value, now.event_time,
    greatest(now.known_at, prior.known_at) AS known_at, now.source, now.url
FROM fiscal_years now JOIN fiscal_years prior ON now.end_day - prior.end_day BETWEEN 350 AND 380
WHERE now.age = 0 AND now.equity > 0 AND prior.equity > 0
