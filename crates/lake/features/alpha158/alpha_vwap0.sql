-- name: alpha_vwap0
-- title: typical price to the close
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 VWAP0 = VWAP / C, the average price of the day taken as (H + L + C) / 3
(high + low + close) / 3 / close
