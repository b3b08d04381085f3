-- name: mom_30d
-- title: 30-day momentum
-- short: month momentum
-- section: technicals
-- unit: change
-- window_days: 30
-- ttl_days: 10
-- kind: bars
-- formula: P(t) / P(t-30) - 1, sessions
SELECT now.close / past.close - 1 AS value, now.event_time, now.known_at
FROM closes now CROSS JOIN closes past
WHERE now.age = 0 AND past.age = 30
