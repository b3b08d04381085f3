-- name: insider_buyers_90d
-- title: insiders who bought in 90 days
-- short: buyers
-- section: insider
-- unit: count
-- window_days: 90
-- kind: insider
-- formula: distinct owners with an open-market purchase (code P) made known in 90 days; Lakonishok and Lee (2001)
SELECT
    count(DISTINCT owner_cik) FILTER (WHERE code = 'P') AS value, max(event_time) AS event_time, max(known_at) AS known_at,
    last_value(source ORDER BY known_at, record_id) AS source,
    last_value(url ORDER BY known_at, record_id) AS url
FROM insider_trades
WHERE age_days < 90
HAVING count(*) > 0
