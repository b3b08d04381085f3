-- name: ret_10d
-- title: 10-day return
-- short: two week return
-- section: technicals
-- unit: change
-- window_days: 10
-- ttl_days: 10
-- kind: bars
-- formula: P(t) / P(t-10) - 1, sessions
SELECT now.close / past.close - 1 AS value, now.event_time, now.known_at
FROM closes now CROSS JOIN closes past
WHERE now.age = 0 AND past.age = 10
