-- name: wti_ret_21d
-- title: WTI oil 21-day return
-- short: oil month
-- section: market
-- unit: change
-- polarity: neutral
-- window_days: 21
-- ttl_days: 15
-- kind: macro
-- formula: P(t) / P(t-21) - 1, observations
SELECT now.value / past.value - 1 AS value, now.event_time, now.known_at, now.source, now.url
FROM observations now CROSS JOIN observations past
WHERE now.series = 'WTI' AND past.series = 'WTI' AND now.age = 0 AND past.age = 21 AND past.value > 0
