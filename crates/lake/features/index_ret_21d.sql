-- name: index_ret_21d
-- title: S&P 500 21-day return
-- short: index month
-- section: market
-- unit: change
-- window_days: 21
-- ttl_days: 10
-- kind: index
-- formula: P(t) / P(t-21) - 1, sessions
SELECT now.close / past.close - 1 AS value, now.event_time, now.known_at
FROM index_closes now CROSS JOIN index_closes past
WHERE now.age = 0 AND past.age = 21
