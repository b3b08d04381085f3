-- name: insider_net_shares_90d
-- title: number of shares insiders bought net in 90 days
-- short: net shares bought
-- section: insider
-- unit: shares
-- window_days: 90
-- kind: insider
-- formula: open-market purchases (code P) minus sales (code S) made known in 90 days
SELECT
    sum(CASE code WHEN 'P' THEN shares WHEN 'S' THEN -shares ELSE 0 END) AS value, max(event_time) AS event_time, max(known_at) AS known_at,
    last_value(source ORDER BY known_at, record_id) AS source,
    last_value(url ORDER BY known_at, record_id) AS url
FROM insider_trades
WHERE age_days < 90
HAVING count(*) > 0
