-- name: baa_aaa_spread_change
-- title: Baa-Aaa bond yield spread against the month before
-- section: market
-- unit: change_points
-- polarity: bad
-- use: research
-- ttl_days: 75
-- kind: macro
-- formula: s(m) - s(m-1), s = (Baa - Aaa) / 100 by month; the series are monthly, so the change is of a month and not of 21 days
WITH spreads AS (
    SELECT
        (baa.value - aaa.value) / 100 AS spread, baa.period_end, baa.event_time,
        greatest(aaa.known_at, baa.known_at) AS known_at, baa.source, baa.url,
        row_number() OVER (ORDER BY baa.period_end DESC) AS place
    FROM observations baa JOIN observations aaa ON aaa.period_end = baa.period_end
    WHERE baa.series = 'BAA' AND aaa.series = 'AAA'
)
SELECT
    now.spread - past.spread AS value, now.event_time,
    greatest(now.known_at, past.known_at) AS known_at, now.source, now.url
FROM spreads now CROSS JOIN spreads past
WHERE now.place = 1 AND past.place = 2
    AND CAST(now.period_end AS INTEGER) - CAST(past.period_end AS INTEGER) BETWEEN 20 AND 40
