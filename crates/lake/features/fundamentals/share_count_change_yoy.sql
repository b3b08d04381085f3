-- name: share_count_change_yoy
-- title: annual change of shares outstanding
-- section: fundamentals
-- unit: change
-- polarity: bad
-- use: research
-- ttl_days: 500
-- kind: facts
-- formula: S(y) / S(y-1) - 1 at the ends of fiscal years, S(y-1) times the splits between the two reports; Pontiff and Woodgate (2008)
WITH pair AS (
    SELECT
        now.value AS shares, prior.value AS prior_shares, now.filed, prior.filed AS prior_filed,
        now.event_time, greatest(now.known_at, prior.known_at) AS known_at, now.source, now.url
    FROM annual now JOIN annual prior ON prior.metric = now.metric
    WHERE now.metric = 'shares' AND now.age = 0
        AND now.end_day - prior.end_day BETWEEN 350 AND 380 AND prior.value > 0
),
split AS (
    SELECT exp(sum(ln(actions.value))) AS ratio
    FROM pair JOIN actions
    ON actions.action = 'split' AND actions.ex_date > pair.prior_filed AND actions.ex_date <= pair.filed
)
SELECT
    shares / (prior_shares * coalesce(split.ratio, 1)) - 1 AS value, event_time, known_at, source, url
FROM pair CROSS JOIN split
