-- name: insider_sells_90d
-- title: insider sales in 90 days
-- short: sales
-- section: insider
-- unit: count
-- window_days: 90
-- kind: insider
-- formula: transactions of code S made known in 90 days
SELECT
    count(*) FILTER (WHERE code = 'S') AS value, max(event_time) AS event_time, max(known_at) AS known_at,
    last_value(source ORDER BY known_at, record_id) AS source,
    last_value(url ORDER BY known_at, record_id) AS url
FROM insider_trades
WHERE age_days < 90
HAVING count(*) > 0
