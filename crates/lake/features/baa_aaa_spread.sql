-- name: baa_aaa_spread
-- title: Baa-Aaa bond yield spread
-- short: credit spread
-- section: market
-- unit: share
-- ttl_days: 75
-- kind: macro
-- formula: (Baa - Aaa) / 100, last month both are known for
SELECT
    (baa.value - aaa.value) / 100 AS value, baa.event_time,
    greatest(aaa.known_at, baa.known_at) AS known_at, baa.source, baa.url
FROM observations baa JOIN observations aaa ON aaa.period_end = baa.period_end
WHERE baa.series = 'BAA' AND aaa.series = 'AAA'
ORDER BY baa.period_end DESC
LIMIT 1
