-- name: insider_net_value_90d
-- title: value insiders bought net in 90 days to market capitalisation
-- section: insider
-- unit: change
-- use: research
-- window_days: 90
-- kind: insider
-- formula: (value of purchases, code P, - value of sales, code S, made known in 90 days, at the prices stated) / market capitalisation; undefined where a price is not stated; Seyhun (1986)
WITH trades AS (
    SELECT
        sum(CASE code WHEN 'P' THEN shares * price ELSE -shares * price END) AS net,
        max(event_time) AS event_time, max(known_at) AS known_at,
        last_value(source ORDER BY known_at, record_id) AS source,
        last_value(url ORDER BY known_at, record_id) AS url
    FROM insider_trades
    WHERE age_days < 90 AND code IN ('P', 'S')
    HAVING count(*) > 0 AND count(price) = count(*)
)
SELECT
    trades.net / cap.value AS value, trades.event_time,
    greatest(trades.known_at, cap.known_at) AS known_at, trades.source, trades.url
FROM trades CROSS JOIN market_cap cap
