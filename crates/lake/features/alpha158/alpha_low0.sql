-- name: alpha_low0
-- title: low to the close
-- section: technicals
-- unit: ratio
-- use: research
-- ttl_days: 10
-- kind: bars
-- formula: Qlib Alpha158 LOW0 = L / C
low / close
