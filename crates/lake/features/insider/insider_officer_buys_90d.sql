-- name: insider_officer_buys_90d
-- title: purchases by officers and directors in 90 days
-- section: insider
-- unit: count
-- use: research
-- window_days: 90
-- kind: insider
-- formula: transactions of code P made known in 90 days by owners who are officers or directors, holders of ten percent alone left out; Seyhun (1986)
SELECT
    count(*) FILTER (
        WHERE code = 'P' AND (owner_relationship LIKE '%Officer%' OR owner_relationship LIKE '%Director%')
    ) AS value,
    max(event_time) AS event_time, max(known_at) AS known_at,
    last_value(source ORDER BY known_at, record_id) AS source,
    last_value(url ORDER BY known_at, record_id) AS url
FROM insider_trades
WHERE age_days < 90
HAVING count(*) > 0
