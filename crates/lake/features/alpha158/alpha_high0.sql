-- name: alpha_high0
-- title: high to the close
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 HIGH0 = H / C
high / close
