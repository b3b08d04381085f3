-- name: mom_252_21
-- title: 12-1 month momentum
-- short: year momentum
-- section: technicals
-- unit: change
-- window_days: 252
-- ttl_days: 10
-- kind: bars
-- formula: P(t-21) / P(t-252) - 1, sessions
SELECT recent.close / past.close - 1 AS value, now.event_time, now.known_at
FROM closes now CROSS JOIN closes recent CROSS JOIN closes past
WHERE now.age = 0 AND recent.age = 21 AND past.age = 252
