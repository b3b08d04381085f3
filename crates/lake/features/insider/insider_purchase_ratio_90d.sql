-- name: insider_purchase_ratio_90d
-- title: net purchase ratio of insiders in 90 days
-- section: insider
-- unit: score
-- use: research
-- window_days: 90
-- kind: insider
-- formula: (P - S) / (P + S) of the numbers of open-market purchases and sales made known in 90 days; Lakonishok and Lee (2001)
SELECT
    sum(CASE code WHEN 'P' THEN 1.0 ELSE -1.0 END) / count(*) AS value, max(event_time) AS event_time, max(known_at) AS known_at,
    last_value(source ORDER BY known_at, record_id) AS source,
    last_value(url ORDER BY known_at, record_id) AS url
FROM insider_trades
WHERE age_days < 90
    AND code IN ('P', 'S')
HAVING count(*) > 0
