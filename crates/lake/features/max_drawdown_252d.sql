-- name: max_drawdown_252d
-- title: 252-day maximum drawdown
-- short: year drawdown
-- section: risks
-- unit: change
-- window_days: 252
-- ttl_days: 10
-- kind: bars
-- formula: min over t of P(t) / max(P(..t)) - 1 in the last 252 closes
SELECT min(close / peak) - 1 AS value, max(event_time) AS event_time, max(known_at) AS known_at
FROM (
    SELECT close, event_time, known_at, max(close) OVER (ORDER BY age DESC) AS peak
    FROM closes
    WHERE age < 252
)
HAVING count(*) = 252
