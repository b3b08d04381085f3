-- name: yield_slope_10y_2y
-- title: 10-year less 2-year Treasury yield
-- section: market
-- unit: change_points
-- use: research
-- ttl_days: 10
-- kind: macro
-- formula: (DGS10 - DGS2) / 100, last day both are known for, series of FRED; Estrella and Hardouvelis (1991)
SELECT
    (ten.value - two.value) / 100 AS value, ten.event_time,
    greatest(ten.known_at, two.known_at) AS known_at, ten.source, ten.url
FROM observations ten JOIN observations two ON two.period_end = ten.period_end
WHERE ten.series = 'DGS10' AND two.series = 'DGS2'
ORDER BY ten.period_end DESC
LIMIT 1
