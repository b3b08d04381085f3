-- name: vix_change_21d
-- title: VIX 21-day change
-- short: VIX month
-- section: market
-- unit: change
-- polarity: bad
-- window_days: 21
-- ttl_days: 10
-- kind: macro
-- formula: V(t) / V(t-21) - 1, observations
SELECT now.value / past.value - 1 AS value, now.event_time, now.known_at, now.source, now.url
FROM observations now CROSS JOIN observations past
WHERE now.series = 'VIX' AND past.series = 'VIX' AND now.age = 0 AND past.age = 21 AND past.value > 0
